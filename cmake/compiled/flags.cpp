// The flags that this library was built with, for the linker to compare: see core/compiled.hpp.
#include <wasi/core/compiled.hpp>

namespace wasi::detail {

template <int vectors, bool threads>
void program_and_compiled_library_have_the_same_flags()
{
}
template void program_and_compiled_library_have_the_same_flags<vector_bits, openmp>();

}  // namespace wasi::detail
