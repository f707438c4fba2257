// State in a file: every bit of numbers and tensors, and factors that go on for hundreds of steps as if nothing had
// been.
#include <doctest/doctest.h>

#include <bit>
#include <cstdint>
#include <limits>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <support/files.hpp>
#include <support/matrices.hpp>
#include <wasi/files/file_state.hpp>
#include <wasi/nn/layer_setup.hpp>
#include <wasi/storage/eigen.hpp>
#include <wasi/subspace/activation_subspace.hpp>

namespace {

using namespace wasi_tests;
using wasi::EigenStorage;
using wasi::Shape;
using wasi::Tag;
using wasi::Tensor;
using wasi::Use;
namespace files = wasi::files;
namespace linalg = wasi::linalg;
namespace nn = wasi::nn;

/// Anything that can be said of an object in a file.
struct Everything {
    wasi::Ledger memory;
    Tensor<float> single;
    Tensor<double> several;
    Tensor<double> nothing;
    std::vector<wasi::Index> whole;
    std::vector<double> real;
    std::string word;

    void state(wasi::State& visitor)
    {
        visitor.tensor("single", single, memory, Tag{Use::weight, 3});
        const wasi::State::Scope scope(visitor, "inner.");
        visitor.tensor("several", several, memory, Tag{Use::optimiser_state, 4});
        visitor.tensor("nothing", nothing, memory, {});
        for (std::size_t i = 0; i < whole.size(); ++i) {
            visitor.number("whole " + std::to_string(i), whole[i]);
        }
        for (std::size_t i = 0; i < real.size(); ++i) {
            visitor.number("real " + std::to_string(i), real[i]);
        }
        visitor.text("word", word);
    }
};

TEST_CASE("state: every bit of tensors and numbers comes back, and what is empty comes back empty")
{
    using Real = std::numeric_limits<double>;
    const TemporaryFolder folder;
    Everything written;
    written.single = Tensor<float>(written.memory, {}, Shape{2, 1, 3});
    EigenStorage::fill_normal(written.single.matrix(), wasi::RandomKey(1));
    written.several = Tensor<double>(written.memory, {}, Shape{4, 5});
    EigenStorage::fill_normal(written.several.matrix(), wasi::RandomKey(2));
    written.whole = {0, -1, std::numeric_limits<wasi::Index>::max(), std::numeric_limits<wasi::Index>::min()};
    written.real = {0.1, -0.0, 1.0 / 3.0, Real::max(), Real::min(), Real::denorm_min(), Real::epsilon(), 1e300, -2.0};
    written.word = "a word, \"quoted\"\nand more";
    files::StateWriter writer(false);
    written.state(writer);
    CHECK_FALSE(writer.reading());
    CHECK(writer.bytes() == 6 * sizeof(float) + 20 * sizeof(double));
    writer.write(folder / "state");

    const wasi::io::SafetensorsFile file(folder / "state");
    CHECK(file.contains("single"));
    CHECK(file.contains("inner.several"));
    CHECK_FALSE(file.contains("inner.nothing"));
    CHECK(file.metadata().at("inner.whole 1") == "-1");
    Everything read;
    read.nothing = Tensor<double>(read.memory, {}, Shape{3});  // what is there goes
    read.whole.resize(written.whole.size(), 7);
    read.real.resize(written.real.size(), 7.0);
    files::StateReader reader(file, folder / "state", false);
    CHECK(reader.reading());
    read.state(reader);
    reader.require_all_read();
    CHECK(read.single.shape() == written.single.shape());
    CHECK(max_difference(read.single.matrix(), std::as_const(written.single).matrix()) == 0.0);
    CHECK(max_difference(read.several.matrix(), std::as_const(written.several).matrix()) == 0.0);
    CHECK(read.nothing.empty());
    CHECK(read.whole == written.whole);
    for (std::size_t i = 0; i < read.real.size(); ++i) {
        CAPTURE(written.real[i]);
        CHECK(std::bit_cast<std::uint64_t>(read.real[i]) == std::bit_cast<std::uint64_t>(written.real[i]));
    }
    CHECK(read.word == written.word);
    CHECK(read.memory.of(Tag{Use::weight, 3}).current == 6 * sizeof(float));
    CHECK(read.memory.of(Tag{Use::optimiser_state, 4}).current == 20 * sizeof(double));
}

template <class T>
using Weight = nn::LinearWeight<T, EigenStorage>;

constexpr wasi::Index outputs = 40;
constexpr wasi::Index inputs = 48;

/// Step number `step` of a weight of this size: a gradient of two columns, moving W by some per cent.
template <class T>
void take_step(Weight<T>& weight, int step, double size)
{
    const wasi::RandomKey key(static_cast<std::uint64_t>(step));
    Tensor<T> p(wasi::plain_memory(), {}, Shape{outputs, 2});
    Tensor<T> q(wasi::plain_memory(), {}, Shape{inputs, 2});
    EigenStorage::fill_normal(p.matrix(), key.derive(1));
    EigenStorage::fill_normal(q.matrix(), key.derive(2));
    EigenStorage::add_scaled(p.matrix(), T(0), static_cast<T>(size), std::as_const(p).matrix());
    weight.template held_as<nn::SubspaceOptions>()->subspace().update(
        T(0.02), T(1e-3), {std::as_const(p).matrix(), std::as_const(q).matrix(), false},
        wasi::subspace::UpdateForm::rank_r);
}

template <class T>
[[nodiscard]] std::vector<T> values_of(const Weight<T>& weight)
{
    const auto factors = weight.low_rank();
    std::vector<T> result(factors.left().data, factors.left().data + factors.left().size());
    result.insert(result.end(), factors.right().data, factors.right().data + factors.right().size());
    return result;
}

TEST_CASE_TEMPLATE("state: a weight subspace goes on with the same bits, past renewals of R Rᵀ", T, float, double)
{
    const TemporaryFolder folder;
    // At 2^600 the squares of R leave double, and R Rᵀ is kept of a scaled R.
    for (const double size : {1.0, 0x1p+600}) {
        if (sizeof(T) == sizeof(float) && size > 1.0) {
            continue;
        }
        for (const int after : {3, 40, 250}) {
            CAPTURE(size);
            CAPTURE(after);
            const auto path = folder / "weight";
            wasi::Ledger memory;
            Weight<T> weight("w", memory, Shape{outputs, inputs}, 2);
            EigenStorage::fill_normal(weight.matrix(), wasi::RandomKey(1));
            EigenStorage::add_scaled(weight.matrix(), T(0), static_cast<T>(size), std::as_const(weight).matrix());
            nn::set_up(weight, nn::WeightSetup(nn::SubspaceOptions{{linalg::FixedRank{8}, false}}));
            for (int step = 0; step < after; ++step) {
                take_step(weight, step, size);
            }
            {
                files::StateWriter writer(false);
                weight.form().state(writer);
                writer.write(path);
            }
            Weight<T> again("w", memory, Shape{outputs, inputs}, 2);
            again.hold(nn::empty_form(again, "subspace"));
            const wasi::io::SafetensorsFile file(path);
            files::StateReader reader(file, path, false);
            again.form().state(reader);
            reader.require_all_read();
            bool same = true;
            for (int step = after; step < 300 && same; ++step) {
                take_step(weight, step, size);
                take_step(again, step, size);
                same = values_of(again) == values_of(weight);
                CAPTURE(step);
                CHECK(same);
            }
            const auto& updates = weight.template held_as<nn::SubspaceOptions>()->subspace().updates();
            const auto& updates_again = again.template held_as<nn::SubspaceOptions>()->subspace().updates();
            CHECK(updates.rank_r == 300);
            CHECK(updates_again.rank_r == updates.rank_r);
            CHECK(updates_again.repairs == updates.repairs);
            CHECK(again.low_rank().energy_at_start() == weight.low_rank().energy_at_start());
        }
    }
}

TEST_CASE_TEMPLATE("state: an activation subspace goes on with the same bits, also of the fresh bases that are due", T,
                   float, double)
{
    using Subspace = wasi::subspace::ActivationSubspace<T, EigenStorage>;
    const TemporaryFolder folder;
    const auto path = folder / "input";
    wasi::Ledger memory;
    const wasi::subspace::ActivationSubspaceOptions options{
        .ranks = {3, 5, 6}, .restart_below = 0.0, .restart_every = 3};
    const auto energies = [&](Subspace& subspace, int from, int to) {
        std::vector<T> result;
        for (int step = from; step < to; ++step) {
            Tensor<T> x(memory, {}, Shape{4, 30, 96});  // large enough for bases that are drawn
            EigenStorage::fill_normal(x.matrix(), wasi::RandomKey(static_cast<std::uint64_t>(step)));
            const auto tucker = subspace.compress(std::as_const(x).template view<3>());
            result.insert(result.end(), tucker.bases[2].span().begin(), tucker.bases[2].span().end());
            result.insert(result.end(), tucker.core.span().begin(), tucker.core.span().end());
        }
        return result;
    };
    for (const int after : {1, 2, 4}) {
        CAPTURE(after);
        Subspace plain(options, wasi::RandomKey(7), memory, {});
        Subspace other(options, wasi::RandomKey(8), memory, {});
        CHECK(energies(plain, 0, after) != energies(other, 0, after));  // the key is felt
        {
            files::StateWriter writer(false);
            plain.state(writer);
            writer.write(path);
        }
        Subspace again(options, wasi::RandomKey(7), memory, {});
        const wasi::io::SafetensorsFile file(path);
        files::StateReader reader(file, path, false);
        again.state(reader);
        CHECK(again.captured_energy() == plain.captured_energy());
        CHECK(again.ranks() == plain.ranks());
        CHECK(again.drift() == plain.drift());
        CHECK(energies(again, after, 8) == energies(plain, after, 8));
        CHECK(again.restarts() == plain.restarts());
        CHECK(again.restarts() == 3);
    }
}

TEST_CASE("state: of values alone a subspace keeps L and R, and none of what its next steps depend on")
{
    const TemporaryFolder folder;
    wasi::Ledger memory;
    Weight<float> weight("w", memory, Shape{outputs, inputs}, 2);
    EigenStorage::fill_normal(weight.matrix(), wasi::RandomKey(1));
    nn::set_up(weight, nn::WeightSetup(nn::SubspaceOptions{{linalg::FixedRank{8}, false}}));
    take_step(weight, 0, 1.0);
    files::StateWriter values(true);
    weight.form().state(values);
    CHECK(values.bytes() == weight.bytes());
    CHECK(values.metadata.empty());
    files::StateWriter all(false);
    weight.form().state(all);
    CHECK(all.bytes() == weight.bytes() + 8 * 8 * sizeof(double));
    CHECK_FALSE(all.metadata.empty());
}

}  // namespace
