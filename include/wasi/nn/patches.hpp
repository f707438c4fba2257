#pragma once
#include "wasi/storage/concept.hpp"
#include "wasi/storage/tensor.hpp"

namespace wasi::nn {

/// The non-overlapping patches of images (B,3,H,W) as rows (B, N, 3 p p), each patch channel by channel, row by row:
/// the order of a convolution weight (D,3,p,p), which thereby is a plain linear layer. `patch` must divide height and
/// width.
template <class S, Scalar T>
[[nodiscard]] Tensor<T> extract_patches(ConstTensorView<T, 4> images, Index patch, Memory& memory)
{
    const auto [batch, channels, height, width] = images.shape;
    const Index across = width / patch;
    const Index count = (height / patch) * across;
    Tensor<T> rows(memory, Tag{}, Shape{batch, count, channels * patch * patch});
    for (Index b = 0; b < batch; ++b) {
        for (Index n = 0; n < count; ++n) {
            for (Index c = 0; c < channels; ++c) {
                const T* corner =
                    images.data + ((b * channels + c) * height + n / across * patch) * width + n % across * patch;
                T* target = rows.data() + ((b * count + n) * channels + c) * patch * patch;
                S::copy(MatrixView<T>::row_major(target, patch, patch),
                        ConstMatrixView<T>{corner, patch, patch, width, 1});
            }
        }
    }
    return rows;
}

}  // namespace wasi::nn
