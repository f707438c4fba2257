#pragma once
#include <locale>
#include <string>

/// What a host program may do to a library that writes text: groups of digits between dots and a comma for the point,
/// as std::locale::global(std::locale("de_DE.UTF-8")) has, of the test's own making, so that none need be installed.
namespace wasi_tests {

struct GroupedDigits : std::numpunct<char> {
    char do_thousands_sep() const override { return '.'; }
    std::string do_grouping() const override { return "\3"; }
    char do_decimal_point() const override { return ','; }
    std::string do_truename() const override { return "wahr"; }
};

/// std::locale::global for as long as it lives.
class HostileLocale {
public:
    HostileLocale() : before_(std::locale::global(std::locale(std::locale::classic(), new GroupedDigits))) {}
    HostileLocale(const HostileLocale&) = delete;
    HostileLocale& operator=(const HostileLocale&) = delete;
    ~HostileLocale() { std::locale::global(before_); }

private:
    std::locale before_;
};

}  // namespace wasi_tests
