#include "io/hyperslab.hpp"

namespace espalier::io {

void expect_inside(const Box& outer, const Box& inner, const std::string& what) {
    bool inside = inner.offset.size() == outer.offset.size() && inner.count.size() == inner.offset.size();
    for (size_t axis = 0; inside && axis < inner.offset.size(); ++axis) {
        inside = inner.offset[axis] >= outer.offset[axis] && inner.count[axis] >= 0 &&
                 inner.offset[axis] + inner.count[axis] <= outer.offset[axis] + outer.count[axis];
    }
    if (!inside) {
        throw InternalError(fmt::format("{}: the box {} at {} does not lie in {} at {}", what,
                                        to_string(inner.count), to_string(inner.offset),
                                        to_string(outer.count), to_string(outer.offset)));
    }
}

}  // namespace espalier::io
