// What the library asks of any model, answered from its visit(): parameters, layers, places, and set-ups as values.
#include <doctest/doctest.h>

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <support/perceptron.hpp>
#include <wasi/storage/eigen.hpp>

namespace {

using namespace wasi_tests;
using wasi::EigenStorage;
using wasi::Index;
using wasi::RandomKey;
namespace linalg = wasi::linalg;
namespace nn = wasi::nn;

using Model = Perceptron<float, EigenStorage>;
using Linear = nn::Linear<float, EigenStorage>;

[[nodiscard]] std::vector<std::string> names_of_trained(Model& model)
{
    std::vector<std::string> names;
    for (const auto& parameter : nn::trainable_parameters(model)) {
        names.push_back(parameter.name());
    }
    return names;
}

TEST_CASE("parameters come in the order of visit, factors in place of their weight, frozen ones not at all")
{
    using Names = std::vector<std::string>;
    wasi::Ledger memory;
    Model model({}, memory);
    fill(model, 1);
    CHECK(names_of_trained(model) ==
          Names{"first.weight", "first.bias", "second.weight", "second.bias", "head.weight", "head.bias"});
    nn::set_up(model.first.weight, nn::WeightSetup(nn::FactorsOptions{{linalg::FixedRank{4}, false}}));
    nn::set_up(model.second.weight, nn::WeightSetup(nn::SubspaceOptions{{linalg::FixedRank{5}, false}}));
    model.first.bias.set_trainable(false);
    CHECK(names_of_trained(model) ==
          Names{"first.weight.left", "first.weight.right", "second.weight", "second.bias", "head.weight", "head.bias"});
    model.first.weight.set_trainable(false);
    CHECK(names_of_trained(model) == Names{"second.weight", "second.bias", "head.weight", "head.bias"});
    const std::size_t numbers = 4 * (32 + 24) + 32 + 5 * (32 + 32) + 32 + 3 * 32 + 3;
    CHECK(nn::parameter_bytes(model) == numbers * sizeof(float));
    CHECK(memory.of(wasi::Use::weight).current == numbers * sizeof(float));
}

TEST_CASE("the chosen layers are those of MLPs or of all blocks, never the head, which is found by its role")
{
    wasi::Ledger memory;
    Model model({}, memory);
    CHECK(nn::selected_layers(model, nn::Layers::mlp) == std::vector<Linear*>{&model.first, &model.second});
    CHECK(nn::selected_layers(model, nn::Layers::all) == std::vector<Linear*>{&model.first, &model.second});
    CHECK(nn::head_of(model) == &model.head);
}

/// Two layers whose weights have one name.
struct Twins {
    using Value = float;
    using Storage = EigenStorage;
    explicit Twins(wasi::Memory& memory)
        : one("w", "b", memory, wasi::Shape{3, 2}, 1), other("w", "c", memory, wasi::Shape{3, 2}, 2)
    {
    }
    template <class F>
    void visit(F&& f)
    {
        f(nn::Place{nn::Role::mlp, 0}, one);
        f(nn::Place{nn::Role::mlp, 0}, other);
    }
    Linear one;
    Linear other;
};

TEST_CASE("two trained parameters of one name are refused: optimisers know them by it")
{
    wasi::Ledger memory;
    Twins twins(memory);
    CHECK_THROWS_WITH_AS(static_cast<void>(nn::trainable_parameters(twins)), "trainable_parameters: two are called w",
                         wasi::argument_error);
    twins.other.weight.set_trainable(false);
    CHECK(nn::trainable_parameters(twins).size() == 3);
}

TEST_CASE("a set-up is a value: what a layer says of itself makes another layer the same")
{
    wasi::Ledger memory;
    nn::TuckerOptions tucker;
    tucker.ranks = {2, 1, 3};
    tucker.restart_every = 5;
    nn::ProjectedOptions projected;
    projected.projection = wasi::subspace::Projection::prac;
    projected.principal_rank = 3;
    const std::vector<nn::WeightSetup> weights{nn::DenseOptions{}, nn::SubspaceOptions{{linalg::Energy{0.7}, false}},
                                               nn::FactorsOptions{{linalg::FixedRank{4}, false}},
                                               nn::FrozenOptions{wasi::Precision::half}};
    for (const nn::WeightSetup& weight : weights) {
        for (const nn::InputSetup& input :
             {nn::InputSetup(nn::ExactOptions{}), nn::InputSetup(tucker), nn::InputSetup(projected)}) {
            for (const bool trainable : {true, false}) {
                CAPTURE(nn::kind_of(weight));
                CAPTURE(nn::kind_of(input));
                CAPTURE(trainable);
                Model model({}, memory);
                fill(model, 1);
                nn::set_up(model.first, nn::LayerSetup{weight, input, trainable, !trainable}, RandomKey(7));
                const nn::LayerSetup said = nn::setup_of(model.first);
                CHECK(nn::kind_of(said.weight) == nn::kind_of(weight));
                CHECK(nn::kind_of(said.input) == nn::kind_of(input));
                CHECK(said.trainable == trainable);
                CHECK(said.bias_trainable == !trainable);
                if (const auto* options = std::get_if<nn::TuckerOptions>(&said.input)) {
                    CHECK(options->restart_every == 5);
                    CHECK(options->ranks[2].fixed() == Index{3});
                }
                if (const auto* options = std::get_if<nn::ProjectedOptions>(&said.input)) {
                    CHECK(options->projection == projected.projection);
                    CHECK(options->principal_rank == 3);
                }
                Model again({}, memory);
                fill(again, 1);
                nn::set_up(again.first, said, RandomKey(7));
                CHECK(again.first.weight.rank() == model.first.weight.rank());
                CHECK(nn::kind_of(nn::setup_of(again.first).weight) == nn::kind_of(weight));
            }
        }
    }
}

TEST_CASE("a rank is chosen for a form that has one")
{
    nn::WeightSetup factors = nn::FactorsOptions{};
    nn::set_rank(factors, 7);
    CHECK(std::get<nn::FactorsOptions>(factors).rank.fixed() == Index{7});
    CHECK_FALSE(std::get<nn::FactorsOptions>(factors).keep_dense_above_break_even);
    nn::WeightSetup dense;
    CHECK_THROWS_WITH_AS(nn::set_rank(dense, 7), "set_rank: a weight held dense has no rank to be chosen",
                         wasi::argument_error);
    wasi::Ledger memory;
    Model model({}, memory);
    CHECK(nn::empty_form(model.first.weight, "butterfly") == nullptr);
}

/// A saver that is in no list.
class OwnInput final : public nn::InputSaver<float, EigenStorage> {
public:
    [[nodiscard]] nn::SavedInput<float, EigenStorage> save(const wasi::autograd::Context<float, EigenStorage>& context,
                                                           const wasi::autograd::Variable<float>& x,
                                                           wasi::Tag tag) override
    {
        return {wasi::autograd::Saved<float, EigenStorage>(context, x, tag), nullptr, nullptr};
    }
};

TEST_CASE("a way to save inputs that no list names is not taken for the first that one does")
{
    wasi::Ledger memory;
    Model model({}, memory);
    CHECK(nn::kind_of(nn::input_setup_of(model.first)) == "exact");
    model.first.save_input_with(std::make_unique<OwnInput>());
    CHECK_THROWS_AS((void)nn::input_setup_of(model.first), wasi::argument_error);
    CHECK_THROWS_AS((void)nn::setup_of(model.first), wasi::argument_error);
    CHECK(nn::kind_of(nn::setup_of(model.first.weight)) == "dense");
}

}  // namespace
