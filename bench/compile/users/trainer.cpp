// A user's training program: that of README.md.
#include <iostream>
#include <wasi/nn/models/vision_transformer.hpp>
#include <wasi/optim/sgd.hpp>
#include <wasi/storage/eigen.hpp>
#include <wasi/train/method.hpp>
#include <wasi/train/trainer.hpp>

using S = wasi::EigenStorage;

int main()
{
    wasi::data::Dataset<float> data;
    wasi::Ledger memory;
    wasi::nn::VisionTransformer<float, S> model(
        {.image = 32, .patch = 4, .dim = 192, .depth = 6, .heads = 3, .mlp = 768}, memory, wasi::RandomKey(1));
    wasi::train::apply_method(model, {.method = wasi::train::method("wasi"), .weight_rank = wasi::linalg::Energy{0.8}},
                              wasi::RandomKey(2));
    wasi::optim::Sgd<float, S> sgd({.weight_decay = 1e-4}, memory);
    memory.open_arena();
    wasi::train::train(model, data, sgd, {.epochs = 10, .batch_size = 32, .rate = 0.1, .clip_norm = 2.0},
                       wasi::RandomKey(3));
    std::cout << memory.of(wasi::Use::saved_input).peak << " bytes of saved inputs at the peak\n";
}
