#pragma once
// The law that every header which was accepted must obey, written without the reader's own checks. Used by the tests
// and the fuzzer.
#include <cstdint>
#include <map>
#include <string>

#include "wasi/io/safetensors_header.hpp"

namespace wasi_tests {

/// Empty if all is well, else what is wrong: every tensor has the bytes of its shape, and each byte of the data one
/// owner.
inline std::string inconsistency(const wasi::io::SafetensorsHeader& header, std::uint64_t file_size)
{
    if (header.data_begin < 8 || header.data_begin > file_size) {
        return "the data begins outside the file";
    }
    std::map<std::uint64_t, std::uint64_t> end_of;  // of tensors that have bytes, by their begin
    for (const auto& [name, tensor] : header.tensors) {
        __extension__ using Wide = unsigned __int128;
        Wide bytes = wasi::io::size_of(tensor.dtype);
        bool empty = false;
        for (const wasi::Index extent : tensor.shape) {
            if (extent < 0) {
                return name + " has a negative extent";
            }
            empty = empty || extent == 0;
            // Beyond the file's size the exact number does not matter, and it must not overflow here either.
            bytes = bytes > file_size ? bytes : bytes * static_cast<Wide>(extent);
        }
        bytes = empty ? 0 : bytes;
        if (tensor.begin > tensor.end || bytes != tensor.end - tensor.begin) {
            return name + " has bytes that do not fit its shape";
        }
        if (bytes > 0 && !end_of.emplace(tensor.begin, tensor.end).second) {
            return name + " begins where another tensor begins";
        }
    }
    std::uint64_t filled = 0;
    for (const auto& [begin, end] : end_of) {
        if (begin != filled) {
            return "hole or overlap at byte " + std::to_string(begin);
        }
        filled = end;
    }
    return filled == file_size - header.data_begin ? "" : "the tensors do not fill the data";
}

}  // namespace wasi_tests
