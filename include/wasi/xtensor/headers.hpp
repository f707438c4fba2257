#pragma once
// xtensor's headers, wherever this version keeps them: in folders since 0.26, in one folder before. This is the only
// file that names them.
#include "wasi/core/language.hpp"  // before xtensor, which fails at length in an older language

#if __has_include(<xtensor/containers/xtensor.hpp>)
#include <xtensor/containers/xadapt.hpp>
#include <xtensor/containers/xarray.hpp>
#include <xtensor/containers/xtensor.hpp>
#include <xtensor/core/xmath.hpp>
#include <xtensor/core/xnoalias.hpp>
#include <xtensor/views/xview.hpp>
#elif __has_include(<xtensor/xtensor.hpp>)
#include <xtensor/xadapt.hpp>
#include <xtensor/xarray.hpp>
#include <xtensor/xmath.hpp>
#include <xtensor/xnoalias.hpp>
#include <xtensor/xtensor.hpp>
#include <xtensor/xview.hpp>
#else
#error "wasi/xtensor/ needs xtensor (Debian: libxtensor-dev) on the include path"
#endif
