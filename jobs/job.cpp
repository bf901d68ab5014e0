#include "jobs/job.hpp"

#include <array>

namespace espalier::jobs {
namespace {

constexpr std::array table{
    Job{"import", "a checkpoint of somebody else's -> Espalier HDF5", import_model},
    Job{"export", "Espalier HDF5 -> a Hugging Face folder", export_model, io::Output::folder},
    Job{"init", "a model of a given shape with random weights", init},
    Job{"inspect", "what a file is: architecture, tensors, provenance, checksums", inspect},
    Job{"tokenize", "text or JSONL -> Megatron token files", tokenize},
    Job{"importance", "how much every neuron, head, channel and layer matters", importance},
    Job{"search", "shapes under a budget, cut, distilled for a while and ranked", search},
    Job{"prune", "cut a model to a target shape", prune},
    Job{"distill", "train a student after a teacher", distill, io::Output::folder},
    Job{"train", "train a model on text", train, io::Output::folder},
    Job{"teacher-cache", "what a teacher says to the samples of a run to come", teacher_cache,
        io::Output::folder},
    Job{"report", "draw training runs on one HTML page", report},
    Job{"evaluate", "loss and perplexity over text, accuracy over multiple choice", evaluate},
    Job{"score", "log-likelihood of continuations", score},
    Job{"generate", "continue a prompt", generate},
    Job{"plan", "step time, memory and MFU of every layout on a cluster", plan},
    Job{"cost", "FLOPs, GPU hours and energy of a family: from scratch, and pruned and distilled", cost},
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
