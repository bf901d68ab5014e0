#include "io/collective.hpp"

#include <filesystem>
#include <new>

#include "io/damage.hpp"
#include "io/system_error.hpp"
#include "src/core/exact.hpp"

namespace espalier::io {
namespace {

void require(int code, const char* call) {
    if (code != MPI_SUCCESS) throw InternalError(fmt::format("{} failed with code {}", call, code));
}

enum class Outcome : int { success, damaged_file, machine_error, user_error, out_of_memory, internal_error };

struct Result {
    Outcome outcome = Outcome::success;
    std::string text;  ///< the result, or the message
};

template <class F>
Result caught(F&& work) {
    try {
        return {Outcome::success, work()};
    } catch (const DamagedFile& error) {
        return {Outcome::damaged_file, error.what()};
    } catch (const MachineError& error) {
        return {Outcome::machine_error, error.what()};
    } catch (const UserError& error) {
        return {Outcome::user_error, error.what()};
    } catch (const std::filesystem::filesystem_error& error) {
        return {may_pass(error.code().value()) ? Outcome::machine_error : Outcome::user_error,
                fmt::format("{}: {}", error.path1().string(), error.code().message())};
    } catch (const std::bad_alloc&) {
        return {Outcome::out_of_memory, ""};
    } catch (const std::exception& error) {
        return {Outcome::internal_error, error.what()};
    }
}

Result broadcast(MPI_Comm comm, int root, Result result) {
    int64_t head[2] = {static_cast<int64_t>(result.outcome), static_cast<int64_t>(result.text.size())};
    require(MPI_Bcast(head, 2, MPI_INT64_T, root, comm), "MPI_Bcast");
    result.outcome = static_cast<Outcome>(head[0]);
    result.text.resize(static_cast<size_t>(head[1]));
    require(MPI_Bcast(result.text.data(), narrow<int>(head[1]), MPI_CHAR, root, comm), "MPI_Bcast");
    return result;
}

std::string unwrap(Result result) {
    if (result.outcome == Outcome::damaged_file) throw DamagedFile(result.text);
    if (result.outcome == Outcome::machine_error) throw MachineError(result.text);
    if (result.outcome == Outcome::user_error) throw UserError(result.text);
    if (result.outcome == Outcome::out_of_memory) throw std::bad_alloc();
    if (result.outcome == Outcome::internal_error) throw InternalError(result.text);
    return std::move(result.text);
}

}  // namespace

int rank_in(MPI_Comm comm) {
    int rank = 0;
    require(MPI_Comm_rank(comm, &rank), "MPI_Comm_rank");
    return rank;
}

int ranks_in(MPI_Comm comm) {
    int size = 0;
    require(MPI_Comm_size(comm, &size), "MPI_Comm_size");
    return size;
}

std::string on_root(MPI_Comm comm, const std::function<std::string()>& work) {
    Result result;
    if (rank_in(comm) == 0) result = caught(work);
    return unwrap(broadcast(comm, 0, std::move(result)));
}

void on_all(MPI_Comm comm, const std::function<void()>& work) {
    Result result = caught([&] {
        work();
        return std::string();
    });
    const int none = ranks_in(comm);
    int failed = result.outcome == Outcome::success ? none : rank_in(comm);
    require(MPI_Allreduce(MPI_IN_PLACE, &failed, 1, MPI_INT, MPI_MIN, comm), "MPI_Allreduce");
    if (failed != none) unwrap(broadcast(comm, failed, std::move(result)));
}

std::vector<uint64_t> sum_over_ranks(MPI_Comm comm, std::vector<uint64_t> values) {
    require(
        MPI_Allreduce(MPI_IN_PLACE, values.data(), narrow<int>(values.size()), MPI_UINT64_T, MPI_SUM, comm),
        "MPI_Allreduce");
    return values;
}

}  // namespace espalier::io
