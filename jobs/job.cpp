#include "jobs/job.hpp"

#include <array>

namespace espalier::jobs {
namespace {

using comm::Traffic;
using io::Output;

constexpr std::array table{
    Job{"import", "convert a Hugging Face, GGUF or PyTorch checkpoint to Espalier HDF5", import_model},
    Job{"export", "write Espalier HDF5 as a Hugging Face folder", export_model, Computes::no, Output::folder},
    Job{"init", "make a model of a given shape with random weights", init},
    Job{"inspect", "show what a file is: architecture, tensors, provenance, checksums", inspect},
    Job{"tokenize", "turn text or JSONL into Megatron token files", tokenize, Computes::no, std::nullopt},
    Job{"importance", "score every neuron, head, channel and layer", importance, Computes::yes},
    Job{"search", "find shapes within a budget; cut, distil and rank them", search, Computes::by_other_jobs},
    Job{"prune", "cut a model to a target shape", prune},
    Job{"distill", "train a student to follow a teacher", distill, Computes::yes, Output::folder,
        Traffic::distillation},
    Job{"train", "train a model on text", train, Computes::yes, Output::folder, Traffic::training},
    Job{"teacher-cache", "store what a teacher predicts for the samples of a run to come", teacher_cache,
        Computes::yes, Output::folder},
    Job{"report", "draw training runs on one HTML page", report},
    Job{"evaluate", "measure loss and perplexity on text, or accuracy on multiple choice", evaluate,
        Computes::yes},
    Job{"score", "measure the log-likelihood of continuations", score, Computes::yes},
    Job{"generate", "continue a prompt", generate, Computes::yes},
    Job{"plan", "predict step time, memory and MFU of every layout on a cluster", plan, Computes::yes},
    Job{"cost", "compare the cost of a family of models from scratch, and pruned and distilled", cost},
};

}  // namespace

std::span<const Job> jobs() {
    return table;
}

const Job* find_job(std::string_view name) {
    for (const Job& job : table) {
        if (job.name == name) return &job;
    }
    return nullptr;
}

}  // namespace espalier::jobs
