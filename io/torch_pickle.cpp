#include "io/torch_pickle.hpp"

#include <algorithm>
#include <array>
#include <cstring>
#include <unordered_map>
#include <unordered_set>
#include <variant>

#include "src/core/error.hpp"

namespace espalier::io {
namespace {

// Values live in one table and refer to each other by number: a pickle may make cycles, and tuples that share
// parts.
using Id = uint32_t;
struct None {};
struct Mark {};
enum class Global { rebuild_tensor, rebuild_parameter, ordered_dict };
struct StorageType {
    const Encoding* encoding;
};
struct Storage {
    const Encoding* encoding;
    std::string_view key;
    int64_t elements;
};
struct Tuple {
    std::vector<Id> items;
};
struct Dict {
    std::vector<std::pair<Id, Id>> items;
};
struct TensorValue {
    Id storage;
    int64_t offset;
    Id shape, strides;
};
using Value = std::variant<None, Mark, bool, int64_t, std::string_view, Global, StorageType, Storage, Tuple,
                           Dict, TensorValue>;

/// Of torch.<type>Storage; null where torch has none of that name.
const Encoding* storage_encoding(std::string_view type) {
    struct Row {
        std::string_view type, encoding;
    };
    constexpr std::array rows{Row{"BFloat16", "BF16"}, Row{"Half", "F16"}, Row{"Float", "F32"},
                              Row{"Double", "F64"},    Row{"Long", "I64"}, Row{"Int", "I32"},
                              Row{"Short", "I16"},     Row{"Char", "I8"},  Row{"Byte", "U8"},
                              Row{"Bool", "BOOL"}};
    const auto* found = std::ranges::find(rows, type, &Row::type);
    return found == rows.end() ? nullptr : plain_encoding(found->encoding);
}

class Machine {
public:
    Machine(std::string_view pickle, const std::string& what) : in_(pickle), what_(what) {}

    /// Runs to the STOP opcode and gives the value left.
    Id run();

    template <class T>
    const T& get(Id id, const char* expected) const {
        const auto* value = std::get_if<T>(&values_[id]);
        if (!value) error("expected {}", expected);
        return *value;
    }
    template <class T>
    bool is(Id id) const {
        return std::holds_alternative<T>(values_[id]);
    }
    template <class... Args>
    [[noreturn]] void error(fmt::format_string<Args...> format, Args&&... args) const {
        fail("{}: byte {} of the pickle: {}", what_, at_, fmt::format(format, std::forward<Args>(args)...));
    }
    /// A shape or its strides. The limit is PyTorch's; it also keeps a long tuple from being copied for many
    /// tensors.
    std::vector<int64_t> integers(Id tuple) const {
        std::vector<int64_t> out;
        const auto& items = get<Tuple>(tuple, "a tuple").items;
        if (items.size() > 64) error("a tensor of {} axes", items.size());
        out.reserve(items.size());
        for (const Id item : items) out.push_back(get<int64_t>(item, "an integer"));
        return out;
    }

private:
    struct Opcode {
        char code;
        void (*run)(Machine&);
    };
    /// nullptr for an opcode that is not run.
    static const Opcode* find(char code);
    bool step();
    void push(Value value) {
        values_.push_back(std::move(value));
        stack_.push_back(static_cast<Id>(values_.size() - 1));
    }
    Id top() const {
        if (stack_.empty()) error("the stack is empty");
        return stack_.back();
    }
    Id pop() {
        const Id id = top();
        stack_.pop_back();
        return id;
    }
    std::vector<Id> pop_to_mark();
    void push_tuple(size_t size);
    void set_item();
    void set_items(const std::vector<Id>& flat);
    void set_attributes();
    void push_global();
    void push_long();
    void load_storage();
    void reduce();
    void check_protocol();
    Value rebuild(Global global, const std::vector<Id>& arguments);
    void expect_no_metadata(Id id);

    std::string_view take(size_t bytes) {
        if (bytes > in_.size() - at_) error("it is truncated");
        at_ += bytes;
        return in_.substr(at_ - bytes, bytes);
    }
    template <class T>
    T number() {
        T value;
        std::memcpy(&value, take(sizeof(T)).data(), sizeof(T));
        return value;
    }
    std::string_view line() {
        const size_t end = in_.find('\n', at_);
        if (end == std::string_view::npos) error("it is truncated");
        const auto text = take(end - at_);
        take(1);
        return text;
    }
    void remember(uint32_t slot) { memo_[slot] = top(); }
    void recall(uint32_t slot) {
        const auto found = memo_.find(slot);
        if (found == memo_.end()) error("memo {} is not set", slot);
        stack_.push_back(found->second);
    }

    std::string_view in_;
    const std::string& what_;
    size_t at_ = 0;
    std::vector<Value> values_;
    std::vector<Id> stack_;
    std::unordered_map<uint32_t, Id> memo_;
};

Id Machine::run() {
    while (step()) {
    }
    if (stack_.size() != 1) error("{} values are left, expected one", stack_.size());
    return top();
}

bool Machine::step() {
    const char code = take(1)[0];
    if (code == '.') return false;  // STOP
    const Opcode* opcode = find(code);
    if (!opcode)
        error("opcode 0x{:02x} is not one that torch.save writes for a dictionary of tensors",
              static_cast<unsigned char>(code));
    opcode->run(*this);
    return true;
}

// All that torch.save writes for a dictionary of tensors, by the names of Lib/pickle.py; STOP aside.
const Machine::Opcode* Machine::find(char code) {
    static constexpr std::array opcodes{
        Opcode{'\x80', [](Machine& m) { m.check_protocol(); }},  // PROTO
        // What goes on the stack as it is.
        Opcode{'(', [](Machine& m) { m.push(Mark{}); }},                         // MARK
        Opcode{'N', [](Machine& m) { m.push(None{}); }},                         // NONE
        Opcode{'\x88', [](Machine& m) { m.push(true); }},                        // NEWTRUE
        Opcode{'\x89', [](Machine& m) { m.push(false); }},                       // NEWFALSE
        Opcode{'K', [](Machine& m) { m.push(int64_t{m.number<uint8_t>()}); }},   // BININT1
        Opcode{'M', [](Machine& m) { m.push(int64_t{m.number<uint16_t>()}); }},  // BININT2
        Opcode{'J', [](Machine& m) { m.push(int64_t{m.number<int32_t>()}); }},   // BININT
        Opcode{'\x8a', [](Machine& m) { m.push_long(); }},                       // LONG1
        Opcode{'X', [](Machine& m) { m.push(m.take(m.number<uint32_t>())); }},   // BINUNICODE
        // Tuples and dictionaries.
        Opcode{')', [](Machine& m) { m.push(Tuple{}); }},                 // EMPTY_TUPLE
        Opcode{'\x85', [](Machine& m) { m.push_tuple(1); }},              // TUPLE1
        Opcode{'\x86', [](Machine& m) { m.push_tuple(2); }},              // TUPLE2
        Opcode{'\x87', [](Machine& m) { m.push_tuple(3); }},              // TUPLE3
        Opcode{'t', [](Machine& m) { m.push(Tuple{m.pop_to_mark()}); }},  // TUPLE
        Opcode{'}', [](Machine& m) { m.push(Dict{}); }},                  // EMPTY_DICT
        Opcode{'s', [](Machine& m) { m.set_item(); }},                    // SETITEM
        Opcode{'u', [](Machine& m) { m.set_items(m.pop_to_mark()); }},    // SETITEMS
        Opcode{'b', [](Machine& m) { m.set_attributes(); }},              // BUILD
        // The memo.
        Opcode{'q', [](Machine& m) { m.remember(m.number<uint8_t>()); }},   // BINPUT
        Opcode{'r', [](Machine& m) { m.remember(m.number<uint32_t>()); }},  // LONG_BINPUT
        Opcode{'h', [](Machine& m) { m.recall(m.number<uint8_t>()); }},     // BINGET
        Opcode{'j', [](Machine& m) { m.recall(m.number<uint32_t>()); }},    // LONG_BINGET
        // Storages, and the calls of three functions.
        Opcode{'c', [](Machine& m) { m.push_global(); }},   // GLOBAL
        Opcode{'Q', [](Machine& m) { m.load_storage(); }},  // BINPERSID
        Opcode{'R', [](Machine& m) { m.reduce(); }},        // REDUCE
    };
    const auto* found = std::ranges::find(opcodes, code, &Opcode::code);
    return found == opcodes.end() ? nullptr : found;
}

void Machine::check_protocol() {
    const int version = number<uint8_t>();
    if (version != 2) error("protocol {}, expected 2; save it with torch.save's default protocol", version);
}

std::vector<Id> Machine::pop_to_mark() {
    size_t mark = stack_.size();
    while (mark > 0 && !is<Mark>(stack_[mark - 1])) --mark;
    if (mark == 0) error("no mark on the stack");
    std::vector<Id> items(stack_.begin() + static_cast<std::ptrdiff_t>(mark), stack_.end());
    stack_.resize(mark - 1);
    return items;
}

void Machine::push_tuple(size_t size) {
    Tuple tuple;
    for (size_t i = 0; i < size; ++i) tuple.items.push_back(pop());
    std::ranges::reverse(tuple.items);
    push(std::move(tuple));
}

void Machine::set_item() {
    const Id value = pop(), key = pop();
    set_items({key, value});
}

void Machine::set_items(const std::vector<Id>& flat) {
    if (flat.size() % 2 != 0) error("a key without a value");
    get<Dict>(top(), "a dictionary");
    auto& items = std::get<Dict>(values_[top()]).items;
    for (size_t i = 0; i < flat.size(); i += 2) items.emplace_back(flat[i], flat[i + 1]);
}

void Machine::set_attributes() {  // of a dictionary, such as _metadata, which no tensor is in
    pop();
    get<Dict>(top(), "attributes of a dictionary");
}

void Machine::push_long() {  // little-endian two's complement
    const size_t size = number<uint8_t>();
    if (size > 8) error("an integer of {} bytes", size);
    const auto digits = take(size);
    uint64_t value = size > 0 && (digits.back() & 0x80) ? ~uint64_t{0} : 0;
    for (size_t i = size; i-- > 0;) value = value << 8 | static_cast<unsigned char>(digits[i]);
    push(static_cast<int64_t>(value));
}

void Machine::push_global() {
    const auto module = line(), name = line();
    if (module == "collections" && name == "OrderedDict") return push(Global::ordered_dict);
    if (module == "torch._utils" && name == "_rebuild_tensor_v2") return push(Global::rebuild_tensor);
    if (module == "torch._utils" && name == "_rebuild_parameter") return push(Global::rebuild_parameter);
    if (module == "torch" && name.ends_with("Storage")) {
        const auto type = name.substr(0, name.size() - std::strlen("Storage"));
        if (const auto* encoding = storage_encoding(type)) return push(StorageType{encoding});
    }
    error(
        "it uses {}.{}, which is not part of a plain dictionary of tensors and will not be run; "
        "save only model.state_dict()",
        module, name);
}

void Machine::load_storage() {  // of ("storage", type, key, location, elements)
    const auto& parts = get<Tuple>(pop(), "the tuple of a storage").items;
    if (parts.size() != 5 || get<std::string_view>(parts[0], "a word") != "storage") error("not a storage");
    const auto* encoding = get<StorageType>(parts[1], "a storage type").encoding;
    const auto elements = get<int64_t>(parts[4], "a count of elements");
    push(Storage{encoding, get<std::string_view>(parts[2], "the key of a storage"), elements});
}

void Machine::reduce() {
    const Id arguments = pop();
    const auto global = get<Global>(pop(), "a function");
    push(rebuild(global, get<Tuple>(arguments, "a tuple of arguments").items));
}

/// A tensor's metadata may say that its values are negated ("neg"), or conjugate.
void Machine::expect_no_metadata(Id id) {
    if (std::holds_alternative<None>(values_[id])) return;
    if (!get<Dict>(id, "a tensor's metadata").items.empty())
        error("a tensor with metadata, as of a negated view; save it after .clone()");
}

Value Machine::rebuild(Global global, const std::vector<Id>& arguments) {
    switch (global) {
        case Global::ordered_dict:
            if (!arguments.empty()) error("an OrderedDict with arguments");
            return Dict{};
        case Global::rebuild_tensor:  // storage, offset, shape, strides, requires_grad, hooks, and metadata
                                      // or not
            if (arguments.size() != 6 && arguments.size() != 7)
                error("_rebuild_tensor_v2 with {} arguments", arguments.size());
            if (arguments.size() == 7) expect_no_metadata(arguments[6]);
            get<Storage>(arguments[0], "a storage");
            return TensorValue{arguments[0], get<int64_t>(arguments[1], "an offset"), arguments[2],
                               arguments[3]};
        case Global::rebuild_parameter:  // tensor, requires_grad, hooks
            if (arguments.size() != 3) error("_rebuild_parameter with {} arguments", arguments.size());
            return get<TensorValue>(arguments[0], "a tensor");
    }
    error("unknown function");
}

}  // namespace

std::vector<PickledTensor> unpickle_tensors(std::string_view pickle, const std::string& what) {
    constexpr size_t limit = 64 << 20;  // thousands of times what a real state dictionary needs
    ESPALIER_REQUIRE(pickle.size() <= limit, "{}: a pickle of {} bytes is not a dictionary of tensors", what,
                     pickle.size());
    Machine machine(pickle, what);
    const Id root = machine.run();
    std::vector<PickledTensor> tensors;
    std::unordered_set<std::string_view> names;
    for (const auto& [key, value] : machine.get<Dict>(root, "a dictionary of tensors").items) {
        const auto name = machine.get<std::string_view>(key, "a tensor's name");
        if (!machine.is<TensorValue>(value)) {
            machine.error("'{}' is not a tensor; save only model.state_dict()", name);
        }
        if (!names.insert(name).second) machine.error("tensor '{}' occurs twice", name);
        const auto& tensor = machine.get<TensorValue>(value, "a tensor");
        const auto& storage = machine.get<Storage>(tensor.storage, "a storage");
        tensors.push_back({std::string(name), storage.encoding, std::string(storage.key), storage.elements,
                           tensor.offset, machine.integers(tensor.shape), machine.integers(tensor.strides)});
    }
    return tensors;
}

}  // namespace espalier::io
