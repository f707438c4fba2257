#include <algorithm>

#include <wasi/io/safetensors.hpp>
#include <wasi/train/evaluate.hpp>

#include "commands/commands.hpp"
#include "commands/data_source.hpp"
#include "commands/weights.hpp"
#include "files/output_folder.hpp"
#include "options/run_options.hpp"

namespace wasi_examples {

int predict(const PredictOptions& options)
{
    check_file(options.out);
    use_threads(options.threads);
    wasi::Ledger ledger;
    const auto model = load_weights({options.weights, options.heads, false}, ledger).model;
    auto data = load_images(options.images);
    data.labels.assign(static_cast<std::size_t>(data.count), 0);  // not read by predict; the check wants one an image
    data.check(model->config().classes);
    const wasi::Tensor<float> logits = wasi::train::predict(*model, data, std::min(options.batch_size, data.count));
    wasi::io::write_safetensors(options.out, {{"logits", {logits.shape()[0], logits.shape()[1]}, logits.span()}}, {});
    return 0;
}

}  // namespace wasi_examples
