#pragma once
#include "wasi/storage/concept.hpp"

namespace wasi::linalg {

/// W <- W - shrink W. Not (1 - shrink) W: of floats, 1 - 2e-7 is 1 - 1.8e-7, and so for every number at every step.
template <class S, Scalar T>
requires StorageFor<S, T>
void decay(MatrixView<T> w, T shrink)
{
    if (shrink != T(0)) {
        S::add_scaled(w, T(1), -shrink, ConstMatrixView<T>(w));
    }
}

}  // namespace wasi::linalg
