#include <doctest/doctest.h>

#include <cstdint>
#include <limits>
#include <type_traits>
#include <utility>

#include <wasi/storage/eigen.hpp>
#include <wasi/storage/tensor.hpp>

namespace {

using wasi::Index;
using wasi::Ledger;
using wasi::Shape;
using wasi::Tag;
using wasi::Tensor;
using wasi::Use;

TEST_CASE("a shape knows its order, size and extents")
{
    const Shape shape{2, 3, 4};
    CHECK(shape.order() == 3);
    CHECK(shape.size() == 24);
    CHECK(shape[1] == 3);
    CHECK(shape.back() == 4);
    CHECK(shape == Shape{2, 3, 4});
    CHECK_FALSE(shape == Shape{2, 3});
    CHECK_FALSE(Shape{2, 3} == shape);
    CHECK_FALSE(shape == Shape{2, 4, 3});
    CHECK(Shape{}.size() == 1);
    CHECK(Shape{}.order() == 0);
    CHECK(Shape{}.back() == 1);
    CHECK(Shape{5, 0, 3}.size() == 0);
    CHECK(wasi::shape_text(shape) == "(2, 3, 4)");
}

TEST_CASE("a tensor without columns still has its rows")
{
    const auto empty = wasi::workspace<float>(wasi::plain_memory(), 5, 0);
    CHECK(empty.matrix().rows == 5);
    CHECK(empty.matrix().cols == 0);
}

TEST_CASE("a shape refuses negative extents, too many of them, and sizes that overflow")
{
    CHECK_THROWS_AS((Shape{2, -1}), wasi::shape_error);
    CHECK_THROWS_AS((Shape{1, 1, 1, 1, 1, 1, 1}), wasi::shape_error);
    const Index large = Index{1} << 40;
    CHECK_THROWS_AS((Shape{large, large}), wasi::shape_error);
    CHECK_THROWS_AS((Shape{large, 1, large}), wasi::shape_error);
    CHECK_THROWS_AS((Shape{std::numeric_limits<Index>::max()}), wasi::shape_error);
    CHECK_NOTHROW(Shape{large});
    CHECK_NOTHROW(Shape{large, 0, large});
}

TEST_CASE_TEMPLATE("a tensor books its bytes while it lives, aligned to 64", T, float, double)
{
    Ledger ledger;
    const Tag tag{Use::weight, 2};
    const std::size_t bytes = 5 * 7 * sizeof(T);
    {
        const Tensor<T> tensor(ledger, tag, Shape{5, 7});
        CHECK(ledger.of(tag).current == bytes);
        CHECK(ledger.total().current == bytes);
        CHECK(tensor.bytes() == bytes);
        CHECK(tensor.size() == 35);
        CHECK(tensor.span().size() == 35);
        CHECK_FALSE(tensor.empty());
        CHECK(tensor.tag() == tag);
        CHECK(&tensor.memory() == &ledger);
        CHECK(reinterpret_cast<std::uintptr_t>(tensor.data()) % 64 == 0);
    }
    CHECK(ledger.total().current == 0);
    CHECK(ledger.total().peak == bytes);
}

TEST_CASE("a default tensor is empty and books nothing")
{
    Tensor<float> tensor;
    CHECK(tensor.empty());
    CHECK(tensor.size() == 0);
    CHECK(tensor.span().empty());
    tensor.reset();
    CHECK(tensor.empty());
}

TEST_CASE("moving hands the block over, and the ledger sees one owner")
{
    CHECK_FALSE(std::is_copy_constructible_v<Tensor<float>>);
    CHECK_FALSE(std::is_copy_assignable_v<Tensor<float>>);
    CHECK(std::is_nothrow_move_constructible_v<Tensor<float>>);
    CHECK(std::is_nothrow_move_assignable_v<Tensor<float>>);
    Ledger ledger;
    {
        Tensor<float> first(ledger, Tag{Use::weight, 0}, Shape{4, 4});
        std::ranges::fill(first.span(), 3.0F);
        const float* block = first.data();
        Tensor<float> second(std::move(first));
        CHECK(first.empty());  // NOLINT(bugprone-use-after-move): a moved-from tensor is empty, and that is tested
        CHECK(first.size() == 0);
        CHECK(second.data() == block);
        CHECK(second.span()[15] == 3.0F);
        CHECK(ledger.total().current == 64);

        Tensor<float> third(ledger, Tag{Use::gradient, 0}, Shape{8});
        CHECK(ledger.total().current == 96);
        third = std::move(second);
        CHECK(third.data() == block);
        CHECK(third.shape() == Shape{4, 4});
        CHECK(ledger.total().current == 64);
        CHECK(ledger.of(Use::gradient).current == 0);

        Tensor<float>& same = third;
        third = std::move(same);
        CHECK(third.data() == block);
        CHECK(third.span()[0] == 3.0F);
    }
    CHECK(ledger.total().current == 0);
}

TEST_CASE("swap exchanges blocks, shapes and books")
{
    Ledger ledger;
    Tensor<float> a(ledger, Tag{Use::weight, 1}, Shape{2});
    Tensor<float> b(ledger, Tag{Use::input, 2}, Shape{3, 3});
    std::ranges::fill(a.span(), 1.0F);
    std::ranges::fill(b.span(), 2.0F);
    a.swap(b);
    CHECK(a.shape() == Shape{3, 3});
    CHECK(a.tag() == Tag{Use::input, 2});
    CHECK(a.span()[8] == 2.0F);
    CHECK(b.span()[1] == 1.0F);
    b.reset();
    CHECK(ledger.of(Use::weight).current == 0);
    CHECK(ledger.of(Use::input).current == 36);
}

TEST_CASE("reset frees at once")
{
    Ledger ledger;
    Tensor<double> tensor(ledger, Tag{Use::workspace, 0}, Shape{10});
    tensor.reset();
    CHECK(tensor.empty());
    CHECK(tensor.size() == 0);
    CHECK(tensor.bytes() == 0);
    CHECK(ledger.total().current == 0);
}

TEST_CASE("rebook moves the bytes to another class, where they are freed")
{
    Ledger ledger;
    {
        Tensor<float> tensor(ledger, Tag{Use::workspace, 0}, Shape{16});
        tensor.rebook(Tag{Use::saved_activation, 5});
        CHECK(ledger.of(Use::workspace).current == 0);
        CHECK(ledger.of(Tag{Use::saved_activation, 5}).current == 64);
        CHECK(ledger.total().peak == 64);
        tensor.rebook(tensor.tag());
        CHECK(ledger.of(Tag{Use::saved_activation, 5}).current == 64);
    }
    CHECK(ledger.of(Use::saved_activation).current == 0);
    CHECK(ledger.of(Use::workspace).current == 0);

    Tensor<float> empty;
    empty.rebook(Tag{Use::weight, 1});
    CHECK(empty.tag() == Tag{Use::weight, 1});
}

TEST_CASE("matrix is all but the last extent as rows")
{
    Tensor<float> tensor(wasi::plain_memory(), Tag{}, Shape{2, 3, 4});
    for (Index i = 0; i < 24; ++i) {
        tensor.data()[i] = static_cast<float>(i);
    }
    CHECK(tensor.matrix().rows == 6);
    CHECK(tensor.matrix().cols == 4);
    CHECK(tensor.matrix()(5, 1) == 21.0F);
    CHECK(std::as_const(tensor).matrix()(5, 1) == 21.0F);
    const Tensor<float> vector(wasi::plain_memory(), Tag{}, Shape{9});
    CHECK(vector.matrix().rows == 1);
    CHECK(vector.matrix().cols == 9);
    const Tensor<float> nothing(wasi::plain_memory(), Tag{}, Shape{3, 0});
    CHECK(nothing.matrix().size() == 0);
    const Tensor<float> scalar(wasi::plain_memory(), Tag{}, Shape{});
    CHECK(scalar.matrix().size() == 1);
}

TEST_CASE("view gives the tensor its order, and refuses another one")
{
    Tensor<float> tensor(wasi::plain_memory(), Tag{}, Shape{2, 3, 4});
    CHECK(tensor.view<3>().shape == std::array<Index, 3>{2, 3, 4});
    CHECK(tensor.view<3>().data == tensor.data());
    CHECK(std::as_const(tensor).view<3>().data == tensor.data());
    CHECK_THROWS_AS(static_cast<void>(tensor.view<2>()), wasi::shape_error);
    CHECK_THROWS_AS(static_cast<void>(std::as_const(tensor).view<4>()), wasi::shape_error);
}

TEST_CASE("reshape keeps the elements, and refuses another size")
{
    Tensor<float> tensor(wasi::plain_memory(), Tag{}, Shape{2, 6});
    const float* block = tensor.data();
    tensor.reshape(Shape{3, 2, 2});
    CHECK(tensor.shape() == Shape{3, 2, 2});
    CHECK(tensor.data() == block);
    CHECK_THROWS_AS(tensor.reshape(Shape{13}), wasi::shape_error);
    CHECK(tensor.shape() == Shape{3, 2, 2});
}

TEST_CASE("the clone of an empty tensor is empty")
{
    CHECK(wasi::clone<wasi::EigenStorage>(Tensor<double>(), Tag{}).empty());
}

TEST_CASE("clone copies the elements into a block of its own")
{
    Ledger ledger;
    Tensor<double> tensor(ledger, Tag{Use::weight, 1}, Shape{3, 2});
    std::ranges::fill(tensor.span(), 1.5);
    const Tensor<double> copy = wasi::clone<wasi::EigenStorage>(tensor, Tag{Use::gradient, 1});
    std::ranges::fill(tensor.span(), 0.0);
    CHECK(copy.shape() == Shape{3, 2});
    CHECK(copy.span()[0] == 1.5);
    CHECK(copy.span()[5] == 1.5);
    CHECK(ledger.of(Use::gradient).current == 48);
}

TEST_CASE("workspace is a booked matrix of layer 0")
{
    Ledger ledger;
    {
        const Tensor<float> work = wasi::workspace<float>(ledger, 3, 5);
        CHECK(work.shape() == Shape{3, 5});
        CHECK(ledger.of(Tag{Use::workspace, 0}).current == 60);
    }
    CHECK(ledger.total().current == 0);
    CHECK_THROWS_AS(static_cast<void>(wasi::workspace<float>(ledger, 3, -5)), wasi::shape_error);
}

}  // namespace
