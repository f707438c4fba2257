#pragma once
// Reading and writing safetensors files: named tensors after one JSON header.
// Format: an 8-byte little-endian length, that many bytes of JSON, then the data; see
// https://github.com/huggingface/safetensors (README, "Format").
#include "wasi/io/safetensors_header.hpp"
#include "wasi/io/safetensors_reader.hpp"
#include "wasi/io/safetensors_writer.hpp"
