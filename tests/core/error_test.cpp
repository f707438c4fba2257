#include <doctest/doctest.h>

#include <array>
#include <ostream>
#include <sstream>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <vector>

#include <support/hostile_locale.hpp>
#include <wasi/core/error.hpp>
#include <wasi/core/text_stream.hpp>
#include <wasi/core/version.hpp>

namespace {

using wasi::Index;

/// Counts how often it is printed.
struct Counted {
    int* count;
};
std::ostream& operator<<(std::ostream& out, const Counted& counted)
{
    ++*counted.count;
    return out << "printed";
}

TEST_CASE("every error of the library is a wasi::error and a runtime_error")
{
    CHECK(std::is_base_of_v<std::runtime_error, wasi::error>);
    CHECK(std::is_base_of_v<wasi::error, wasi::shape_error>);
    CHECK(std::is_base_of_v<wasi::error, wasi::argument_error>);
    CHECK(std::is_base_of_v<wasi::error, wasi::io_error>);
    CHECK(std::is_base_of_v<wasi::error, wasi::budget_error>);
    // They are siblings: catching one does not catch another.
    CHECK_FALSE(std::is_base_of_v<wasi::shape_error, wasi::argument_error>);
    CHECK_FALSE(std::is_base_of_v<wasi::argument_error, wasi::shape_error>);
}

TEST_CASE("require throws the named error with the joined message")
{
    const std::string text = "rank 9 is above 4 for (4, 6)";
    CHECK_THROWS_WITH_AS(
        wasi::require<wasi::argument_error>(false, "rank ", 9, " is above ", 4, " for ", wasi::shape_text({4, 6})),
        text.c_str(), wasi::argument_error);
    CHECK_THROWS_AS(wasi::require<wasi::budget_error>(false), wasi::budget_error);
}

TEST_CASE("messages are in the classic locale, whatever the host program set")
{
    const wasi_tests::HostileLocale german;
    // The locale does what it should to a stream of the standard library ...
    std::ostringstream grouped;
    grouped << 1234567 << ' ' << 0.5 << ' ' << std::boolalpha << true;
    REQUIRE(grouped.str() == "1.234.567 0,5 wahr");
    // ... and nothing to ours.
    CHECK(wasi::message(1234567, ' ', 0.5, ' ', -1e6, ' ', std::size_t{10000}) == "1234567 0.5 -1e+06 10000");
    CHECK(wasi::shape_text({60000, 768}) == "(60000, 768)");
    CHECK_THROWS_WITH_AS(wasi::require<wasi::shape_error>(false, "got ", wasi::shape_text({1000000})), "got (1000000)",
                         wasi::shape_error);
    wasi::TextStream stream;
    stream << 1234567 << ' ' << 0.5;
    CHECK(stream.str() == "1234567 0.5");
}

TEST_CASE("require builds no message when the condition holds")
{
    int count = 0;
    CHECK_NOTHROW(wasi::require<wasi::shape_error>(true, Counted{&count}));
    CHECK(count == 0);
    CHECK_THROWS_AS(wasi::require<wasi::shape_error>(false, Counted{&count}), wasi::shape_error);
    CHECK(count == 1);
}

TEST_CASE("shape_text writes extents of any order and container")
{
    CHECK(wasi::shape_text({}) == "()");
    CHECK(wasi::shape_text({7}) == "(7)");
    CHECK(wasi::shape_text({3, 0, 4}) == "(3, 0, 4)");
    CHECK(wasi::shape_text(std::vector<Index>{1, 2}) == "(1, 2)");
    CHECK(wasi::shape_text(std::array<Index, 2>{-1, 5}) == "(-1, 5)");
}

TEST_CASE("message joins parts of any printable type")
{
    CHECK(wasi::message().empty());
    CHECK(wasi::message("energy ", 0.5, " of ", std::string("fc1"), '!') == "energy 0.5 of fc1!");
}

TEST_CASE("the version macros agree")
{
    CHECK(WASI_VERSION == WASI_VERSION_MAJOR * 10000 + WASI_VERSION_MINOR * 100 + WASI_VERSION_PATCH);
    CHECK(WASI_VERSION_MINOR < 100);
    CHECK(WASI_VERSION_PATCH < 100);
}

}  // namespace
