#include "src/model/parameter_set.hpp"

#include <algorithm>

namespace espalier::model {
namespace {

/// Whether this rank holds a row, and whether it answers for it.
enum class Held { no, copy, owner };

Held held(const Architecture& a, const Parameter& p, const Placement& placement) {
    if (p.layer >= 0) return placement.has_layer(p.layer) ? Held::owner : Held::no;
    switch (p.weight) {
        case Weight::token_embedding:
            if (placement.embedding) return Held::owner;
            return placement.head && a.tied ? Held::copy : Held::no;
        case Weight::head:
        case Weight::head_bias:
            return placement.head ? Held::owner : Held::no;
        default:
            return placement.final_norm ? Held::owner : Held::no;
    }
}

/// Rows that must follow the one before without a gap, so that together they are one matrix.
bool continues(Weight weight) {
    switch (weight) {
        case Weight::key:
        case Weight::value:
        case Weight::key_bias:
        case Weight::value_bias:
            return true;
        default:
            return false;
    }
}

int64_t part_of(const Parameter& p, int64_t depth) {
    if (p.layer >= 0) return p.layer;
    return p.weight == Weight::token_embedding ? -1 : depth;
}

}  // namespace

Range Entry::rows_in(Range elements) const {
    const int64_t row = row_size();
    if (row == 0) return {0, 0};
    const auto row_at = [&](int64_t element) {
        return std::min(div_ceil(std::max<int64_t>(element - offset, 0), row), local.count[0]);
    };
    return {row_at(elements.begin), row_at(elements.end)};
}

ParameterSet::ParameterSet(Context& ctx, const Architecture& a, const Placement& placement, DType dtype) {
    constexpr int64_t alignment = 32;  // elements: 64 bytes of bf16, 128 of f32
    int64_t offset = 0;
    Weight previous = Weight::head;
    for (const auto& p : parameters(a)) {
        const Held how = held(a, p, placement);
        if (how == Held::no) continue;
        const bool up_after_gate = (p.weight == Weight::up && previous == Weight::gate) ||
                                   (p.weight == Weight::up_bias && previous == Weight::gate_bias);
        if (!continues(p.weight) && !up_after_gate) offset = div_ceil(offset, alignment) * alignment;
        Entry entry{p, local_box(a, p, placement.tensor), owned_box(a, p, placement.tensor), offset,
                    part_of(p, a.depth())};
        if (how == Held::copy) entry.owned.count[0] = 0;
        if (parts_.empty() || parts_.back().layer != entry.part)
            parts_.push_back({entry.part, {offset, offset}});
        offset += entry.size();
        previous = p.weight;
        entries_.push_back(std::move(entry));
    }
    for (size_t i = 0; i < parts_.size(); ++i)
        parts_[i].elements.end = i + 1 < parts_.size() ? parts_[i + 1].elements.begin : offset;
    flat_ = ctx.zeros({offset}, dtype);
}

ParameterSet::ParameterSet(Context& ctx, const std::vector<Parameter>& weights, DType dtype) {
    int64_t offset = 0;
    for (const auto& p : weights) {
        entries_.push_back({p, whole(p.shape), whole(p.shape), offset, p.layer});
        offset += p.size();
    }
    flat_ = ctx.zeros({offset}, dtype);
}

void ParameterSet::expect(Range elements, comm::Request request) {
    expected_.push_back({elements, std::move(request)});
}

void ParameterSet::wait_for(Range elements) const {
    const auto wanted = [&](const Expected& e) { return intersection(e.elements, elements).size() > 0; };
    for (Expected& e : expected_) {
        if (wanted(e)) e.request.wait();
    }
    std::erase_if(expected_, wanted);
}

void ParameterSet::wait_for_part(int64_t layer) const {
    for (const Part& part : parts_) {
        if (part.layer == layer) wait_for(part.elements);
    }
}

const Entry* ParameterSet::find(Weight weight, int64_t layer) const {
    for (const auto& e : entries_) {
        if (e.parameter.weight == weight && e.parameter.layer == layer) return &e;
    }
    return nullptr;
}

Tensor ParameterSet::weight(Weight weight, int64_t layer) const {
    const Entry* const entry = find(weight, layer);
    if (entry) wait_for({entry->offset, entry->offset + entry->size()});
    return view(flat_, entry);
}

Tensor ParameterSet::view(const Tensor& flat, const Entry* entry) {
    return entry ? flat.slice(entry->offset, entry->local.count) : Tensor();
}

Tensor ParameterSet::matrix(const Tensor& flat, const Entry* first, int64_t rows, int64_t columns) {
    return first ? flat.slice(first->offset, {rows, columns}) : Tensor();
}

}  // namespace espalier::model
