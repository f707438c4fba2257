#pragma once
#include <doctest/doctest.h>

#include "support/naive_storage.hpp"
#include "wasi/storage/eigen.hpp"

namespace wasi_tests {

/// A storage with a scalar type: what a law is tested for.
template <class S, class T>
struct Engine {
    using Storage = S;
    using Scalar = T;
};
using EigenFloat = Engine<wasi::EigenStorage, float>;
using EigenDouble = Engine<wasi::EigenStorage, double>;
using NaiveFloat = Engine<NaiveStorage, float>;
using NaiveDouble = Engine<NaiveStorage, double>;

}  // namespace wasi_tests

TYPE_TO_STRING_AS("Eigen, float", wasi_tests::EigenFloat);
TYPE_TO_STRING_AS("Eigen, double", wasi_tests::EigenDouble);
TYPE_TO_STRING_AS("naive, float", wasi_tests::NaiveFloat);
TYPE_TO_STRING_AS("naive, double", wasi_tests::NaiveDouble);
