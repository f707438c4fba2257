#pragma once
#include <concepts>
#include <type_traits>
#include <utility>

#include "wasi/storage/view.hpp"

namespace wasi {

/// The edge of the library: how a user's matrix type X becomes a view, and which types results of the same kind have.
/// A specialisation provides
///
///   using Scalar, Matrix, Vector, Storage;      // Storage: the backend that computes for this family by default
///   static auto with_view(const X&, f);         // f(ConstMatrixView<Scalar>), without a copy where the layout allows;
///                                               // the view lives only inside the call, so it can never outlive a
///                                               temporary
///   static Matrix make_matrix(Index, Index);    static Vector make_vector(Index);
///   static MatrixView<Scalar> view(Matrix&);    static std::span<Scalar> span(Vector&);
///
/// Users' memory is theirs: it is never booked.
template <class X>
struct Family;

/// A type that has a Family.
template <class X>
concept MatrixLike = requires
{
    typename Family<std::remove_cvref_t<X>>::Scalar;
    typename Family<std::remove_cvref_t<X>>::Matrix;
};

// Version 14 of the formatter breaks concepts.
// clang-format off

/// An object of a user's that results of scalar type T can be written into: an owning matrix, or a MatrixView.
template <class X, class T>
concept WritableMatrix = MatrixLike<X> && requires(X& x) {
    { Family<std::remove_const_t<X>>::view(x) } -> std::same_as<MatrixView<T>>;
};
// clang-format on

}  // namespace wasi
