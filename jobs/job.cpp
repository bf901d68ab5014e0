#include "jobs/job.hpp"

#include <array>

namespace espalier::jobs {
namespace {

constexpr std::array table{
    Job{"import", "convert a Hugging Face, GGUF or PyTorch checkpoint to Espalier HDF5", import_model},
    Job{"export", "write Espalier HDF5 as a Hugging Face folder", export_model, io::Output::folder},
    Job{"init", "make a model of a given shape with random weights", init},
    Job{"inspect", "show what a file is: architecture, tensors, provenance, checksums", inspect},
    Job{"tokenize", "turn text or JSONL into Megatron token files", tokenize},
    Job{"importance", "score every neuron, head, channel and layer", importance},
    Job{"search", "find shapes within a budget; cut, distil and rank them", search},
    Job{"prune", "cut a model to a target shape", prune},
    Job{"distill", "train a student to follow a teacher", distill, io::Output::folder},
    Job{"train", "train a model on text", train, io::Output::folder},
    Job{"teacher-cache", "store what a teacher predicts for the samples of a run to come", teacher_cache,
        io::Output::folder},
    Job{"report", "draw training runs on one HTML page", report},
    Job{"evaluate", "measure loss and perplexity on text, or accuracy on multiple choice", evaluate},
    Job{"score", "measure the log-likelihood of continuations", score},
    Job{"generate", "continue a prompt", generate},
    Job{"plan", "predict step time, memory and MFU of every layout on a cluster", plan},
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
