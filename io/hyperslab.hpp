// The pieces of a block of a tensor that lie together in memory and in a file.
#pragma once

#include "src/core/box.hpp"

namespace espalier::io {

/// Throws InternalError naming `what` unless `inner` lies in `outer`.
void expect_inside(const Box& outer, const Box& inner, const std::string& what);

/// Calls f(global_index, box_index, count) for every run of elements of `part` that is contiguous both in the
/// flat tensor of shape `global` and in the flat `box`; part lies in box, box in global.
template <class F>
void for_each_run(const Shape& global, const Box& box, const Box& part, F&& f) {
    if (part.size() == 0) return;
    // Axes before `outer` are stepped through; axis `outer` and those after it make one run.
    size_t outer = global.size();
    int64_t run = 1;
    while (outer > 0) {
        --outer;
        run *= part.count[outer];
        if (part.count[outer] != global[outer]) break;
    }
    Shape at = part.offset;
    for (;;) {
        int64_t global_index = 0, box_index = 0;
        for (size_t axis = 0; axis < global.size(); ++axis) {
            global_index = global_index * global[axis] + at[axis];
            box_index = box_index * box.count[axis] + (at[axis] - box.offset[axis]);
        }
        f(global_index, box_index, run);
        size_t axis = outer;
        for (;;) {
            if (axis == 0) return;
            --axis;
            if (++at[axis] < part.offset[axis] + part.count[axis]) break;
            at[axis] = part.offset[axis];
        }
    }
}

}  // namespace espalier::io
