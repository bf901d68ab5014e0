#include "tests/io/weight_files.hpp"

namespace espalier::test {
namespace {

std::string zip_with(const std::vector<ZipEntry>& entries, bool wide) {
    std::string out, directory;
    for (const auto& e : entries) {
        const auto size = static_cast<uint32_t>(e.content.size());
        const auto name_size = static_cast<uint16_t>(e.name.size());
        const std::string extra = wide ? raw<uint16_t>(1) + raw<uint16_t>(24) + raw<uint64_t>(size) +
                                             raw<uint64_t>(size) + raw<uint64_t>(out.size())
                                       : "";
        const auto short_size = wide ? UINT32_MAX : size;
        const std::string versions = raw<uint16_t>(45) + raw<uint16_t>(0) + raw(e.method) + raw<uint32_t>(0);
        directory += raw<uint32_t>(0x02014b50) + raw<uint16_t>(45) + versions + raw<uint32_t>(0) +
                     raw(short_size) + raw(short_size) + raw(name_size) +
                     raw(static_cast<uint16_t>(extra.size())) + std::string(10, '\0') +
                     raw(wide ? UINT32_MAX : static_cast<uint32_t>(out.size())) + e.name + extra;
        out += raw<uint32_t>(0x04034b50) + versions + raw<uint32_t>(0) + raw(size) + raw(size) +
               raw(name_size) + raw<uint16_t>(4) + e.name + "FB" + raw<uint16_t>(0) +
               e.content;  // torch pads with a field of its own
    }
    const auto begin = out.size();
    const auto count = entries.size();
    out += directory;
    if (wide) {
        const auto end64 = out.size();
        out += raw<uint32_t>(0x06064b50) + raw<uint64_t>(44) + raw<uint16_t>(45) + raw<uint16_t>(45) +
               std::string(8, '\0') + raw<uint64_t>(count) + raw<uint64_t>(count) +
               raw<uint64_t>(directory.size()) + raw<uint64_t>(begin);
        out += raw<uint32_t>(0x07064b50) + raw<uint32_t>(0) + raw<uint64_t>(end64) + raw<uint32_t>(1);
    }
    const auto short_count = static_cast<uint16_t>(wide ? UINT16_MAX : count);
    out += raw<uint32_t>(0x06054b50) + raw<uint32_t>(0) + raw(short_count) + raw(short_count) +
           raw(wide ? UINT32_MAX : static_cast<uint32_t>(directory.size())) +
           raw(wide ? UINT32_MAX : static_cast<uint32_t>(begin)) + raw<uint16_t>(0);
    return out;
}

std::string pickle_text(const std::string& text) {
    return "X" + raw(static_cast<uint32_t>(text.size())) + text;
}
std::string pickle_number(uint32_t number) {
    return "J" + raw(number);
}
std::string pickle_tuple(const std::vector<uint32_t>& numbers) {
    std::string out = "(";
    for (const auto n : numbers) out += pickle_number(n);
    return out + "t";
}

std::string pickle_tensor(const TorchTensor& t) {
    const std::string ordered_dict = "ccollections\nOrderedDict\n)R";
    const std::string storage = "(" + pickle_text("storage") + "ctorch\n" + t.storage_type + "\n" +
                                pickle_text(t.storage) + pickle_text("cpu") +
                                pickle_number(t.storage_elements) + "tQ";
    const std::string tensor = "ctorch._utils\n_rebuild_tensor_v2\n(" + storage + pickle_number(t.offset) +
                               pickle_tuple(t.shape) + pickle_tuple(t.strides) + "\x89" + ordered_dict +
                               t.metadata + "tR";
    return t.parameter ? "ctorch._utils\n_rebuild_parameter\n" + tensor + "\x88" + ordered_dict + "\x87R"
                       : tensor;
}

}  // namespace

std::string safetensors_bytes(const std::string& header, const std::string& data) {
    return raw<uint64_t>(header.size()) + header + data;
}

std::string gguf_text(const std::string& text) {
    return raw<uint64_t>(text.size()) + text;
}

std::string gguf_value(const std::string& key, uint32_t type, const std::string& value) {
    return gguf_text(key) + raw(type) + value;
}

std::string gguf_array(const std::string& key, uint32_t type, uint64_t count, const std::string& elements) {
    return gguf_value(key, 9, raw(type) + raw(count) + elements);
}

std::string gguf_bytes(const GgufFileSpec& spec) {
    std::string head = "GGUF" + raw(spec.version) + raw(spec.tensor_count.value_or(spec.tensors.size())) +
                       raw(spec.metadata_count.value_or(spec.metadata.size()));
    for (const auto& value : spec.metadata) head += value;
    const auto pad = [&](std::string& text) {
        text.resize((text.size() + spec.alignment - 1) / spec.alignment * spec.alignment);
    };
    std::string data;
    for (const auto& t : spec.tensors) {
        head += gguf_text(t.name) + raw(static_cast<uint32_t>(t.dimensions.size())) + raw(t.dimensions) +
                raw(t.type) + raw<uint64_t>(t.offset.value_or(data.size()));
        data += t.data;
        pad(data);
    }
    pad(head);
    return head + data;
}

std::string zip_bytes(const std::vector<ZipEntry>& entries) {
    return zip_with(entries, false);
}
std::string zip64_bytes(const std::vector<ZipEntry>& entries) {
    return zip_with(entries, true);
}

std::string pickle_bytes(const std::vector<TorchTensor>& tensors) {
    std::string out =
        "\x80\x02"
        "ccollections\nOrderedDict\nq" +
        raw<uint8_t>(0) + ")R(";
    for (const auto& tensor : tensors) out += pickle_text(tensor.name) + pickle_tensor(tensor);
    return out + "u}" + pickle_text("_metadata") + "h" + raw<uint8_t>(0) + ")R" + pickle_text("") + "}" +
           pickle_text("version") + "K\x01sssb.";
}

std::string torch_bin_bytes(const std::vector<TorchTensor>& tensors,
                            const std::map<std::string, std::string>& storages) {
    std::vector<ZipEntry> entries{{"archive/data.pkl", pickle_bytes(tensors)},
                                  {"archive/byteorder", "little"}};
    for (const auto& [key, bytes] : storages) entries.push_back({"archive/data/" + key, bytes});
    entries.push_back({"archive/version", "3\n"});
    return zip_bytes(entries);
}

}  // namespace espalier::test
