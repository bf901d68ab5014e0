// Numbers as JSON shows them.
#pragma once

namespace espalier {

/// The double with the fewest digits that rounds to `value`: written out, 1e-5f is 1e-05 and not
/// 9.999999747378752e-06.
double shortest(float value);

}  // namespace espalier
