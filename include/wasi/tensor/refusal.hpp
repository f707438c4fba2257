#pragma once
#include <cstddef>

#include "wasi/storage/refusal.hpp"
#include "wasi/storage/tensor_family.hpp"

// Why an argument is not taken as a tensor, in one sentence: see storage/refusal.hpp.
namespace wasi::detail {

enum class TensorReason { options, element, order, header, matrix, flat, unknown };

template <class A>
[[nodiscard]] consteval TensorReason why_not_a_tensor()
{
    using E = typename decltype(element_of<A>())::type;
    if constexpr (TensorLike<A>) {
        return TensorReason::options;
    } else if constexpr (wrong_element<E>() != Reason::none && wrong_element<E>() != Reason::flat) {
        return TensorReason::element;
    } else if constexpr (TensorLike<OfOrder<3, A>>) {
        return TensorReason::order;
    } else if constexpr (MatrixLike<A>) {
        return TensorReason::matrix;
    } else if constexpr (CountsIndices<A>) {
        return TensorReason::header;
    } else {
        return Flat<A> ? TensorReason::flat : TensorReason::unknown;
    }
}

/// Says why A is not taken as a tensor.
template <class A>
consteval bool refuse_as_tensor()
{
    constexpr TensorReason reason = why_not_a_tensor<A>();
    if constexpr (reason == TensorReason::element) {
        return refuse_as_matrix<A>();  // the same sentences
    }
    static_assert(reason != TensorReason::order,
                  "wasi: the type of this tensor does not say its order: wasi::of_order<3>(x)");
    static_assert(reason != TensorReason::header,
                  "wasi: tensors of Eigen need the header wasi/storage/eigen/tensor_family.hpp");
    static_assert(
        reason != TensorReason::matrix,
        "wasi: a matrix has no Tucker form of its own: wasi::linalg::truncated_svd, or a wasi::tensor_view of "
        "its elements");
    static_assert(reason != TensorReason::flat,
                  "wasi: these numbers do not say their extents: wasi::tensor_view(values, 8, 16, 32)");
    static_assert(reason != TensorReason::unknown,
                  "wasi: not a tensor of a type that is known here: include its family (xtensor: "
                  "wasi/xtensor/tensor_family.hpp), make a wasi::tensor_view, or specialise wasi::TensorFamily "
                  "(wasi/storage/tensor_family.hpp)");
    static_assert(reason != TensorReason::options,
                  "wasi: the other arguments do not fit this tensor: one rule or entry for each of its modes, and "
                  "matrices of its scalar type");
    return true;
}

/// An argument that is no tensor of float or double.
struct NotATensor {
    template <class A>
    NotATensor(const A&)  // NOLINT(google-explicit-constructor): a conversion is what makes it the last choice
    {
        static_assert(refuse_as_tensor<A>());
    }
};

/// A list of anything in braces.
struct AnyList {
    template <class... Values>
    AnyList(const Values&...)  // NOLINT(google-explicit-constructor)
    {
    }
};

/// Options in braces of any function here, for tensors whose order is not known: only their names count.
struct AnyTuckerOptions {
    AnyList ranks = {};
    AnyList order = {};
    double tolerance = 0.0;
    Index max_sweeps = 0;
};

}  // namespace wasi::detail
