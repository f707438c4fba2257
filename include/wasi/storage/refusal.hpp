#pragma once
#include <Eigen/Core>
#include <concepts>
#include <span>
#include <type_traits>
#include <utility>

#include "wasi/storage/family.hpp"

// Why an argument is not taken, in one sentence where the compiler would list every overload. A function for users'
// matrices has an overload beside it that takes a NotAMatrix by value: a conversion, so anything that fits another
// overload goes there. Its constructor holds the sentences. Such overloads are declared only, since no program that
// uses one compiles. Whether a type is taken is asked with MatrixLike, not with a requires-expression on a call.
namespace wasi::detail {

/// The type of the elements as far as a type says it; void where it says nothing.
template <class A>
[[nodiscard]] consteval auto element_of()
{
    if constexpr (requires { typename A::Scalar; }) {
        return std::type_identity<typename A::Scalar>();
    } else if constexpr (requires { typename A::value_type; }) {
        return std::type_identity<std::remove_cv_t<typename A::value_type>>();
    } else if constexpr (requires(const A& a) { *a.data; }) {
        return std::type_identity<std::remove_cvref_t<decltype(*std::declval<const A&>().data)>>();
    } else {
        return std::type_identity<void>();
    }
}

enum class Reason { none, complex, half, integer, other_scalar, sparse, flat, map, tensor, unknown };

// Version 14 of the formatter breaks concepts.
// clang-format off

/// Numbers one after the other that say nothing of rows.
template <class A>
concept Flat = std::is_pointer_v<A> || std::is_array_v<A> ||
               (requires(const A& a) { std::span(a); } && !requires(const A& a) { a.shape(); });

/// Eigen's tensors.
template <class A>
concept CountsIndices = requires { A::NumIndices; } || requires { A::NumDimensions; };
// clang-format on

/// What is wrong with elements of a type.
template <class E>
[[nodiscard]] consteval Reason wrong_element()
{
    if constexpr (std::is_void_v<E> || Scalar<E>) {
        return Reason::none;
    } else if constexpr (requires(const E& e) { e.real(), e.imag(); }) {
        return Reason::complex;
    } else if constexpr (std::is_integral_v<E>) {
        return Reason::integer;
    } else if constexpr (Flat<E>) {
        return Reason::flat;  // rows of rows
    } else {
        return sizeof(E) == 2 ? Reason::half : Reason::other_scalar;
    }
}

template <class A>
[[nodiscard]] consteval Reason why_not_a_matrix()
{
    using E = typename decltype(element_of<A>())::type;
    if constexpr (MatrixLike<A>) {
        return Reason::none;
    } else if constexpr (wrong_element<E>() != Reason::none) {
        return wrong_element<E>();
    } else if constexpr (Flat<A>) {
        return Reason::flat;
    } else if constexpr (requires { requires std::same_as<typename A::StorageKind, Eigen::Sparse>; }) {
        return Reason::sparse;
    } else if constexpr (requires { &A::apply_adjoint; }) {
        return Reason::map;
    } else if constexpr (CountsIndices<A> || requires(const A& a) { a.rows_by(1); }) {
        return Reason::tensor;
    } else {
        return Reason::unknown;
    }
}

/// Says why A is not taken as a matrix. Answers true, so that it can stand in a static_assert of its own.
template <class A>
consteval bool refuse_as_matrix()
{
    constexpr Reason reason = why_not_a_matrix<A>();
    static_assert(
        reason != Reason::complex,
        "wasi: complex elements are not supported, only float and double; the real matrix [X -Y; Y X] has the "
        "singular values of X + iY, each twice");
    static_assert(reason != Reason::half,
                  "wasi: elements of 16 bits are not supported, only float and double: convert first, a.cast<float>()");
    static_assert(reason != Reason::integer,
                  "wasi: integer elements are not supported, only float and double: convert first, a.cast<double>()");
    static_assert(reason != Reason::other_scalar,
                  "wasi: elements of this type are not supported, only float and double: convert first, "
                  "a.cast<double>()");
    static_assert(
        reason != Reason::sparse,
        "wasi: a sparse matrix is not made dense in silence: include wasi/linalg/sparse_operator.hpp for what "
        "takes one, or hand over Eigen::MatrixXd(a)");
    static_assert(reason != Reason::flat,
                  "wasi: these numbers do not say how many rows they are: wasi::matrix_view(values, rows, cols)");
    static_assert(reason != Reason::map,
                  "wasi: an operator does not say who computes: randomized_svd<wasi::EigenStorage, float>(a, options, "
                  "key, memory)");
    static_assert(reason != Reason::tensor,
                  "wasi: a tensor is not a matrix: wasi::tensor::unfold makes one of it, wasi::tensor::hosvd takes it "
                  "as it is");
    static_assert(reason != Reason::unknown,
                  "wasi: not a matrix of a type that is known here: include its family (xtensor, order 2: "
                  "wasi/xtensor/family.hpp), make a wasi::matrix_view, or specialise wasi::Family "
                  "(wasi/storage/family.hpp)");
    static_assert(reason != Reason::none,
                  "wasi: the other arguments do not fit this matrix: scalar types must agree, results are of "
                  "Family<A>::Matrix");
    return true;
}

/// An argument that is no matrix of float or double.
struct NotAMatrix {
    template <class A>
    NotAMatrix(const A&)  // NOLINT(google-explicit-constructor): a conversion is what makes it the last choice
    {
        static_assert(refuse_as_matrix<A>());
    }
};

/// An argument that may be anything, where another one is refused.
struct Anything {
    template <class A>
    Anything(const A&)  // NOLINT(google-explicit-constructor)
    {
    }
};

/// The first argument of a call without a random key.
struct WithoutKey {
    template <class A>
    WithoutKey(const A&)  // NOLINT(google-explicit-constructor)
    {
        constexpr Reason reason = why_not_a_matrix<A>();
        if constexpr (reason == Reason::none || reason == Reason::sparse) {
            static_assert(std::is_void_v<A>,
                          "wasi: random numbers come from a key that you pass, so that runs can be repeated: "
                          "(a, options, wasi::RandomKey(7))");
        } else {
            static_assert(refuse_as_matrix<A>());
        }
    }
};

/// A number where a random key is wanted.
struct NotAKey {
    template <std::integral Seed>
    NotAKey(Seed)  // NOLINT(google-explicit-constructor)
    {
        static_assert(!std::integral<Seed>, "wasi: a random key is written out: wasi::RandomKey(7)");
    }
};

}  // namespace wasi::detail
