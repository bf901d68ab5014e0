#include "jobs/pruning/cut_file.hpp"

#include <algorithm>

#include "kernels/elementwise.hpp"
#include "src/prune/slice.hpp"

namespace espalier::jobs {
namespace {

using model::Parameter;
using prune::Slices;

int64_t row_bytes(const io::TensorSpec& source) {
    return row_elements(source.shape) * narrow<int64_t>(size_of(source.dtype));
}

/// Indices into `rows` whose values lie in [begin, end).
Range within(const std::vector<int64_t>& rows, int64_t begin, int64_t end) {
    const auto first = std::lower_bound(rows.begin(), rows.end(), begin);
    return {first - rows.begin(), std::lower_bound(first, rows.end(), end) - rows.begin()};
}

/// One weight of the cut model and where it comes from.
struct Cut {
    Cut(ModelFile& file, const prune::Kept& kept, const Parameter& p, const std::vector<Parameter>& all)
        : reader(file.reader()),
          source(*reader.find(dataset(prune::source_of(kept, p, all)))),
          target(p),
          slices(prune::slices(file.architecture(), kept, p)) {}

    /// Kept rows, out of source rows [first, ...) in x.
    Tensor take(Context& ctx, const Tensor& x, int64_t first, Range rows) const {
        Tensor out = ctx.empty(rows_of(target.shape, rows).count, source.dtype);
        const auto partner = [&](int64_t row) {
            const Box box = rows_of(source.shape, {row, row + 1});
            Tensor read = ctx.empty(box.count, source.dtype);
            reader.read(source.name, box, read);
            return read;
        };
        prune::take(x, first, slices, rows, partner, out);
        return out;
    }

    io::TensorFileReader& reader;
    const io::TensorSpec& source;
    const Parameter& target;
    Slices slices;
};

void write_rows(Context& ctx, const Cut& cut, Range mine, ModelWriter& writer) {
    for_each_row_block(cut.source.shape, mine, row_bytes(cut.source), [&](const Box& box) {
        Tensor rows = ctx.empty(box.count, cut.source.dtype);
        cut.reader.read(cut.source.name, box, rows, box);
        const int64_t first = box.offset[0];
        const Range kept = within(cut.slices.rows, first, first + box.count[0]);
        if (kept.size() == 0) return;
        writer.write(cut.target, rows_of(cut.target.shape, kept), cut.take(ctx, rows, first, kept));
    });
}

/// out [local rows, local columns of the split axis ...] = the part `local` of rows `kept` in block.
void copy_part(const Tensor& block, const Parameter& p, const Box& local, std::byte* out) {
    const size_t element = size_of(block.dtype());
    // Ranks split the first axis or the second; of a row everything, or one piece.
    const int64_t row = block.row_elements();
    const int64_t piece = p.split == 1 ? row / p.shape[1] * local.count[1] : row,
                  begin = p.split == 1 ? row / p.shape[1] * local.offset[1] : 0;
    for (int64_t r = 0; r < block.dim(0); ++r) {
        std::copy_n(block.raw() + static_cast<size_t>(r * row + begin) * element,
                    static_cast<size_t>(piece) * element, out + static_cast<size_t>(r * piece) * element);
    }
}

void load_rows(Context& ctx, const Cut& cut, const Box& local, const Tensor& into) {
    const auto& rows = cut.slices.rows;
    const int64_t step = rows_in_block(row_bytes(cut.source)),
                  each = local.count[0] == 0 ? 0 : into.size() / local.count[0],
                  last = local.offset[0] + local.count[0];
    for (int64_t k = local.offset[0]; k < last;) {
        const int64_t first = rows[k];
        const Range kept{k, std::min(last, within(rows, first, first + step).end)};
        const Box box = rows_of(cut.source.shape, {first, rows[kept.end - 1] + 1});
        Tensor read = ctx.empty(box.count, cut.source.dtype);
        cut.reader.read(cut.source.name, box, read);
        const Tensor block = cut.take(ctx, read, first, kept);
        Tensor part = ctx.empty({kept.size(), each}, cut.source.dtype);
        copy_part(block, cut.target, local, part.raw());
        Tensor target = into.view({local.count[0], each}).rows(k - local.offset[0], kept.size());
        convert(ctx, part, target);
        k = kept.end;
    }
}

}  // namespace

void write_cut(Session& session, ModelFile& source, const prune::Kept& kept,
               const model::Architecture& result, ModelWriter& writer,
               const std::function<void(double done)>& progress) {
    const auto all = model::parameters(source.architecture());
    double done = 0;
    for (const auto& p : model::parameters(result)) {
        const Cut cut(source, kept, p, all);
        write_rows(session.context(), cut, comm::my_rows(session.world(), cut.source.shape[0]), writer);
        done += static_cast<double>(p.size());
        progress(done);
    }
    source.reader().verify();
}

std::unique_ptr<model::Transformer> load_cut(Session& session, ModelFile& source, const prune::Kept& kept,
                                             const model::Architecture& result, DType dtype) {
    const auto& layout = session.topology().layout;
    model::check_layout(result, layout.tp, layout.pp, 1, source.path());
    auto out = std::make_unique<model::Transformer>(session.context(), result, session.topology(), dtype,
                                                    model::Gradients::none);
    const auto all = model::parameters(source.architecture());
    for (const auto& e : out->parameters().entries()) {
        const Cut cut(source, kept, e.parameter, all);
        load_rows(session.context(), cut, e.local, model::ParameterSet::view(out->parameters().flat(), &e));
    }
    return out;
}

std::vector<DType> cut_dtypes(const ModelFile& source, const prune::Kept& kept,
                              const model::Architecture& result) {
    const auto all = model::parameters(source.architecture());
    std::vector<DType> out;
    for (const auto& p : model::parameters(result))
        out.push_back(source.stored_dtype(prune::source_of(kept, p, all)));
    return out;
}

}  // namespace espalier::jobs
