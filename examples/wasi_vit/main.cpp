// wasi_vit: fine-tunes a Vision Transformer with dense or low-rank weights and exact or compressed saved inputs.
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <new>
#include <stdexcept>
#include <string>

#include <unistd.h>

#include <CLI/CLI.hpp>

#include <wasi/core/error.hpp>
#include <wasi/core/version.hpp>

#include "commands/commands.hpp"
#include "options/command_line.hpp"

namespace {

/// Exit status for what the user can mend: an option, a file, a folder.
constexpr int usage_status = 2;

constexpr const char* out_of_memory =
    "out of memory; --memory-budget SIZE makes a run of finetune stay within SIZE, and the command plan shows how";

int fail(std::string text)
{
    for (char& c : text) {  // one line, whatever a file name or a library's message holds
        if (c == '\n' || c == '\r') {
            c = ' ';
        }
    }
    std::fprintf(stderr, "wasi_vit: %s\n", text.c_str());
    return usage_status;
}

/// OpenMP threads that wait for work spin unless told otherwise before the program starts, which slows a run many times
/// over as soon as another program wants the processor. So: tell them, and start again. Without /proc things stay as
/// they are.
void start_again_with_passive_threads(char** arguments)
{
    if (std::getenv("OMP_WAIT_POLICY") == nullptr && setenv("OMP_WAIT_POLICY", "passive", 1) == 0) {
        execv("/proc/self/exe", arguments);
    }
}

}  // namespace

int main(int argument_count, char** arguments)
{
    start_again_with_passive_threads(arguments);
    CLI::App app{"Fine-tune a Vision Transformer in weight and activation subspaces.", "wasi_vit"};
    app.set_version_flag("--version", std::to_string(WASI_VERSION_MAJOR) + "." + std::to_string(WASI_VERSION_MINOR) +
                                          "." + std::to_string(WASI_VERSION_PATCH));
    app.require_subcommand(1);
    wasi_examples::FinetuneOptions finetune_options;
    wasi_examples::FinetuneOptions plan_options;
    wasi_examples::FinetuneOptions evaluate_options;
    wasi_examples::ProbeOptions probe_options;
    wasi_examples::PredictOptions predict_options;
    wasi_examples::CompareOptions compare_options;
    wasi_examples::InspectOptions inspect_options;
    wasi_examples::ExportCommandOptions export_options;
    wasi_examples::CompressOptions compress_options;
    wasi_examples::ExpandOptions expand_options;
    CLI::App* finetune = app.add_subcommand("finetune", "train a model and write what came of it");
    CLI::App* plan = app.add_subcommand("plan", "show how a run would stay within a budget of bytes");
    CLI::App* predict = app.add_subcommand("predict", "say what pictures show");
    CLI::App* evaluate =
        app.add_subcommand("evaluate", "measure a model on a data set, and show what it takes for what");
    CLI::App* probe = app.add_subcommand("probe", "measure what a model's features are worth before it is trained");
    CLI::App* compare = app.add_subcommand("compare", "put finished runs side by side in a table and on a page");
    CLI::App* inspect = app.add_subcommand("inspect", "show what rank each weight needs for a share of its energy");
    CLI::App* write_as = app.add_subcommand("export", "write a model for torchvision, timm or Hugging Face");
    CLI::App* compress = app.add_subcommand("compress", "hold the weights of a model as factors and write it");
    CLI::App* expand = app.add_subcommand("expand", "multiply the factors of a model out and write it");
    using wasi_examples::add_options;
    add_options(*finetune, wasi_examples::finetune_table(), finetune_options);
    add_options(*plan, wasi_examples::plan_table(), plan_options);
    add_options(*evaluate, wasi_examples::evaluate_table(), evaluate_options);
    add_options(*probe, wasi_examples::probe_table(), probe_options);
    add_options(*predict, wasi_examples::predict_table(), predict_options);
    add_options(*compare, wasi_examples::compare_table(), compare_options);
    add_options(*inspect, wasi_examples::inspect_table(), inspect_options);
    add_options(*write_as, wasi_examples::export_table(), export_options);
    add_options(*compress, wasi_examples::compress_table(), compress_options);
    add_options(*expand, wasi_examples::expand_table(), expand_options);
    try {
        app.parse(argument_count, arguments);
    } catch (const CLI::Success& asked) {  // --help, --version
        return app.exit(asked);
    } catch (const CLI::ParseError& failure) {
        return fail(failure.what());
    } catch (const wasi::error& failure) {
        return fail(failure.what());
    }
    try {
        if (finetune->parsed()) {
            return wasi_examples::finetune(finetune_options);
        }
        if (plan->parsed()) {
            return wasi_examples::plan(plan_options);
        }
        if (evaluate->parsed()) {
            return wasi_examples::evaluate(evaluate_options);
        }
        if (probe->parsed()) {
            return wasi_examples::probe(probe_options);
        }
        if (inspect->parsed()) {
            return wasi_examples::inspect(inspect_options);
        }
        if (write_as->parsed()) {
            return wasi_examples::export_model(export_options);
        }
        if (compress->parsed()) {
            return wasi_examples::compress(compress_options);
        }
        if (expand->parsed()) {
            return wasi_examples::expand(expand_options);
        }
        return predict->parsed() ? wasi_examples::predict(predict_options) : wasi_examples::compare(compare_options);
    } catch (const wasi::error& failure) {
        return fail(failure.what());
    } catch (const std::bad_alloc&) {
        return fail(out_of_memory);
    } catch (const std::length_error&) {  // more numbers than a container can count
        return fail(out_of_memory);
    } catch (const std::exception& failure) {
        return fail(std::string("unexpected: ") + failure.what());
    }
}
