// Files and messages in a host program whose global locale groups digits and writes a comma for the point.
#include <doctest/doctest.h>

#include <filesystem>
#include <map>
#include <span>
#include <sstream>
#include <string>
#include <vector>

#include <support/files.hpp>
#include <support/hostile_locale.hpp>
#include <wasi/io/safetensors.hpp>

using wasi::Index;
using wasi::io::SafetensorsFile;
using wasi::io::write_safetensors;
using wasi_tests::bytes_of_file;
using wasi_tests::TemporaryFolder;

namespace {

/// Extents and offsets of four and of seven digits.
void write_example(const std::filesystem::path& path)
{
    const std::vector<float> rows(1000 * 1025, 0.5F);
    const std::vector<double> column(1234, -2.0);
    write_safetensors(path, {{"rows", {1000, 1025}, rows}, {"column", {1234}, column}}, {{"heads", "12345"}});
}

}  // namespace

TEST_CASE("safetensors: the same bytes and a file that opens, whatever the host program's locale")
{
    const TemporaryFolder folder;
    write_example(folder / "classic");
    const std::string expected = bytes_of_file(folder / "classic");
    {
        const wasi_tests::HostileLocale german;
        write_example(folder / "german");
        const SafetensorsFile file(folder / "german");
        CHECK(file.info("rows").shape == std::vector<Index>{1000, 1025});
        CHECK(file.info("rows").end == 1234U * 8U + 1000U * 1025U * 4U);
        CHECK(file.metadata() == std::map<std::string, std::string>{{"heads", "12345"}});
        std::vector<double> column(1234);
        file.read("column", std::span<double>(column));
        CHECK(column == std::vector<double>(1234, -2.0));
        // Into a stream of the user's, made with that locale.
        std::ostringstream out;
        const std::vector<float> values(1500, 1.0F);
        write_safetensors(out, {{"x", {1500}, values}});
        CHECK(out.str().find(R"({"x":{"dtype":"F32","shape":[1500],"data_offsets":[0,6000]}})") != std::string::npos);
        // Names of temporary files too: nothing is left behind.
        CHECK(folder.entries() == 2);
    }
    CHECK(bytes_of_file(folder / "german") == expected);
}

TEST_CASE("safetensors: messages name sizes in the classic locale")
{
    const TemporaryFolder folder;
    const wasi_tests::HostileLocale german;
    const std::vector<float> values(1000);
    std::string text;
    try {
        write_safetensors(folder / "file", {{"x", {60000, 768}, values}});
    } catch (const wasi::shape_error& refused) {
        text = refused.what();
    }
    CHECK(text == "safetensors: tensor 'x' of shape (60000, 768) is given 1000 elements");
    wasi_tests::write_bytes(folder / "short", std::string("\x10\x27\0\0\0\0\0\0", 8) + "{}");
    text.clear();
    try {
        const SafetensorsFile file(folder / "short");
    } catch (const wasi::io_error& refused) {
        text = refused.what();
    }
    CHECK(text.find("10000") != std::string::npos);
    CHECK(text.find("10.000") == std::string::npos);
}
