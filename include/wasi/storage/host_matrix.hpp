#pragma once
#include <utility>

#include "wasi/storage/tensor.hpp"

namespace wasi {

/// A matrix for the host to read, element by element: the view itself, or, where the memory is not the host's, a copy
/// (two: one of the storage S to bring the elements together, one to the host). For the few decisions that no primitive
/// takes.
template <class S, Scalar T>
class HostMatrix {
public:
    /// `memory`: that of the elements. Throws std::bad_alloc.
    HostMatrix(ConstMatrixView<T> matrix, Memory& memory) : view_(matrix)
    {
        if (&memory.host() == &memory || matrix.size() == 0) {
            return;
        }
        Tensor<T> together = workspace<T>(memory, matrix.rows, matrix.cols);
        S::copy(together.matrix(), matrix);
        copy_ = workspace<T>(memory.host(), matrix.rows, matrix.cols);
        memory.read(copy_.data(), together.data(), together.bytes());
        view_ = std::as_const(copy_).matrix();
    }

    [[nodiscard]] ConstMatrixView<T> view() const { return view_; }

private:
    Tensor<T> copy_;
    ConstMatrixView<T> view_;
};

}  // namespace wasi
