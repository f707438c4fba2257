#pragma once
#include "wasi/storage/concept.hpp"
#include "wasi/storage/dry/elementwise.hpp"
#include "wasi/storage/dry/factorizations.hpp"
#include "wasi/storage/dry/run.hpp"

namespace wasi {

/// A storage that computes nothing: no primitive does arithmetic or reads an element, but each takes and frees the same
/// workspaces through its Memory as EigenStorage and counts the same flops. An algorithm of the engine run on it books
/// what the real run will book, in the same order, in next to no time and without touching the pages it is given. Where
/// EigenStorage's need depends on data, `usual` takes what ordinary data take and `worst` the upper bound. The few
/// numbers that algorithms look at are set: singular values and eigenvalues are 1 (`worst`: the last eigenvalue is 0),
/// cross entropy is 0, everything is finite, and dot products are as below. Results are not set: who runs on it must
/// not look at them. Run it on one thread; workspaces taken inside a parallel_for are booked as
/// often as they may be alive at once on several. Thread safety: stateless. Tested against EigenStorage primitive by
/// primitive in tests/storage/dry_test.cpp.
template <DryAnswers answers>
struct DryStorageWith : dry::Factorizations<answers>, dry::Elementwise<answers> {
};

/// A run on ordinary data.
using DryStorage = DryStorageWith<DryAnswers::usual>;
/// A run in which whatever can take more does.
using WorstDryStorage = DryStorageWith<DryAnswers::worst>;

static_assert(OptimizerStorageFor<DryStorage, float> && OptimizerStorageFor<DryStorage, double>);
static_assert(OptimizerStorageFor<WorstDryStorage, float> && OptimizerStorageFor<WorstDryStorage, double>);

}  // namespace wasi
