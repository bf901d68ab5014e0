#include "kernels/reference/state_distance.hpp"

#include <cmath>

namespace espalier::reference {

StateDistances state_distance(StateDistance distance, const Values& student, const Values& teacher,
                              int64_t n) {
    StateDistances out{{}, Values(student.size(), 0.0)};
    const auto width = static_cast<double>(n);
    for (int64_t row = 0; row < std::ssize(student); row += n) {
        double ss = 0, tt = 0, st = 0, squares = 0;
        for (int64_t j = row; j < row + n; ++j) {
            ss += student[j] * student[j];
            tt += teacher[j] * teacher[j];
            st += student[j] * teacher[j];
            squares += (student[j] - teacher[j]) * (student[j] - teacher[j]);
        }
        if (distance == StateDistance::mse) {
            out.distances.push_back(squares / width);
            for (int64_t j = row; j < row + n; ++j) out.d_student[j] = 2 * (student[j] - teacher[j]) / width;
        } else if (ss == 0 || tt == 0) {
            out.distances.push_back(1);
        } else {
            const double norms = std::sqrt(ss * tt);
            out.distances.push_back(1 - st / norms);
            for (int64_t j = row; j < row + n; ++j)
                out.d_student[j] = st / norms * student[j] / ss - teacher[j] / norms;
        }
    }
    return out;
}

}  // namespace espalier::reference
