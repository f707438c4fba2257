#pragma once
#include <doctest/doctest.h>

#include "support/naive_storage.hpp"
#include "wasi/storage/eigen.hpp"
#ifdef WASI_TESTS_WITH_XTENSOR
#include "wasi/xtensor/storage.hpp"
#endif

namespace wasi_tests {

/// A storage with a scalar type: what a law is tested for.
template <class S, class T>
struct Engine {
    using Storage = S;
    using Scalar = T;
};
using EigenFloat = Engine<wasi::EigenStorage, float>;
using EigenDouble = Engine<wasi::EigenStorage, double>;
#ifdef WASI_TESTS_WITH_XTENSOR
using XtensorFloat = Engine<wasi::XtensorStorage, float>;
using XtensorDouble = Engine<wasi::XtensorStorage, double>;
#endif
using NaiveFloat = Engine<NaiveStorage, float>;
using NaiveDouble = Engine<NaiveStorage, double>;

}  // namespace wasi_tests

TYPE_TO_STRING_AS("Eigen, float", wasi_tests::EigenFloat);
TYPE_TO_STRING_AS("Eigen, double", wasi_tests::EigenDouble);
#ifdef WASI_TESTS_WITH_XTENSOR
TYPE_TO_STRING_AS("xtensor, float", wasi_tests::XtensorFloat);
TYPE_TO_STRING_AS("xtensor, double", wasi_tests::XtensorDouble);
#endif
TYPE_TO_STRING_AS("naive, float", wasi_tests::NaiveFloat);
TYPE_TO_STRING_AS("naive, double", wasi_tests::NaiveDouble);

// Lists of types for TEST_CASE_TEMPLATE: the storages that ship, in float and double; the same in double alone; and
// those with the naive storage, for laws that any storage must obey.
#ifdef WASI_TESTS_WITH_XTENSOR
#define WASI_SHIPPED_DOUBLE_ENGINES wasi_tests::EigenDouble, wasi_tests::XtensorDouble
#define WASI_SHIPPED_ENGINES wasi_tests::EigenFloat, wasi_tests::XtensorFloat, WASI_SHIPPED_DOUBLE_ENGINES
#else
#define WASI_SHIPPED_DOUBLE_ENGINES wasi_tests::EigenDouble
#define WASI_SHIPPED_ENGINES wasi_tests::EigenFloat, WASI_SHIPPED_DOUBLE_ENGINES
#endif
#define WASI_TEST_DOUBLE_ENGINES WASI_SHIPPED_DOUBLE_ENGINES, wasi_tests::NaiveDouble
#define WASI_TEST_ENGINES WASI_SHIPPED_ENGINES, wasi_tests::NaiveFloat, wasi_tests::NaiveDouble
