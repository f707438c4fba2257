#pragma once
#include <span>
#include <type_traits>

#include "support/naive_columns.hpp"

namespace wasi_tests {

/// What both halves of the naive storage share: names of argument types, and loops over elements.
struct NaiveElements {
    template <class T>
    using In = std::type_identity_t<wasi::ConstMatrixView<T>>;
    template <class T>
    using InRow = std::type_identity_t<std::span<const T>>;
    template <class T>
    using Out = std::type_identity_t<wasi::MatrixView<T>>;
    template <class T>
    using OutRow = std::type_identity_t<std::span<T>>;
    template <class T>
    using Value = std::type_identity_t<T>;
    using Index = wasi::Index;
    template <class T>
    using View = wasi::MatrixView<T>;
    template <class T>
    using Wide = naive::Wide<T>;

protected:
    template <class T, class F>
    static void for_each(View<T> a, F&& f)
    {
        for (Index i = 0; i < a.rows; ++i) {
            for (Index j = 0; j < a.cols; ++j) {
                f(i, j);
            }
        }
    }

    template <class T>
    [[nodiscard]] static T& at(std::span<T> values, Index i)
    {
        return values[static_cast<std::size_t>(i)];
    }

    /// y_ij = f(x_ij...). Old contents of y become NaN first, unless they are one of the inputs.
    template <class T, class F, class... Views>
    static void overwrite(View<T> y, F&& f, Views... x)
    {
        naive::expect(((y.shape() == x.shape()) && ...), "elementwise: shapes");
        const auto is_output = [&](const auto& input) {
            return input.data == y.data && input.row_stride == y.row_stride && input.col_stride == y.col_stride;
        };
        if (!(is_output(x) || ...)) {
            naive::poison(y);
        }
        for_each(y, [&](Index i, Index j) { y(i, j) = static_cast<T>(f(static_cast<Wide<T>>(x(i, j))...)); });
    }
};

}  // namespace wasi_tests
