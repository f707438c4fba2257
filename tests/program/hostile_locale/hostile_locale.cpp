// Put before a program (LD_PRELOAD), so that it runs as inside a host that groups digits and writes a comma for the
// point, from before its first line on.
#include <support/hostile_locale.hpp>

namespace {

[[maybe_unused]] const wasi_tests::HostileLocale for_the_whole_program;

}  // namespace
