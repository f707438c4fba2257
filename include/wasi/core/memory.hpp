#pragma once
/// Memory with and without books: Memory, PlainMemory, Booking, Ledger.
#include "wasi/core/error.hpp"
#include "wasi/core/ledger.hpp"
#include "wasi/core/memory_base.hpp"
#include "wasi/core/scalar.hpp"
