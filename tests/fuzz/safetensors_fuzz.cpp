// libFuzzer entry for the safetensors header: whatever the bytes, either io_error or a consistent header, and no crash.
//   clang++ -std=c++20 -g -O1 -fsanitize=fuzzer,address,undefined -Iinclude tests/fuzz/safetensors_fuzz.cpp -o
//   fuzz_safetensors
//   ./fuzz_safetensors -max_total_time=60
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <sstream>
#include <string>

#include "../io/safetensors_consistency.hpp"
#include "wasi/core/error.hpp"
#include "wasi/io/safetensors_header.hpp"

namespace {

void check(const std::string& bytes, std::uint64_t file_size)
{
    std::istringstream in(bytes);
    try {
        const wasi::io::SafetensorsHeader header = wasi::io::parse_header(in, file_size);
        const std::string fault = wasi_tests::inconsistency(header, file_size);
        if (!fault.empty()) {
            std::fprintf(stderr, "accepted, but %s\n", fault.c_str());
            std::abort();
        }
    } catch (const wasi::io_error& refused) {
        // Messages are printed on one line of a terminal.
        for (const char* character = refused.what(); *character != '\0'; ++character) {
            if (*character < 0x20 || *character > 0x7e) {
                std::fprintf(stderr, "message with control or non-ASCII bytes: %s\n", refused.what());
                std::abort();
            }
        }
    }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size)
{
    const std::string input(reinterpret_cast<const char*>(data), size);
    // The input as a file of that size, and, so that most runs reach the JSON, as a header with a right length before
    // as many bytes of data as the first byte says. The data need not exist: the header alone is read.
    check(input, size);
    if (size > 0) {
        const std::uint64_t length = size - 1;
        std::string file(sizeof(length), '\0');
        for (std::size_t i = 0; i < sizeof(length); ++i) {
            file[i] = static_cast<char>(length >> (8 * i) & 0xffU);
        }
        check(file + input.substr(1), sizeof(length) + length + data[0]);
    }
    return 0;
}
