// What wasi_vit writes does not depend on the global locale of the process.
#include <string>

#include <doctest/doctest.h>

#include "run_program.hpp"

namespace {

using wasi_tests::contents;
using wasi_tests::run_program;
using wasi_tests::TemporaryFolder;

const std::string golden = std::string(WASI_TEST_DATA) + "/golden/";

/// The sanitizer wants to be the first library, and is told to accept another before it.
const std::string hostile =
    "ASAN_OPTIONS=verify_asan_link_order=0:\"$ASAN_OPTIONS\" LD_PRELOAD='" WASI_HOSTILE_LOCALE "' ";

}  // namespace

TEST_CASE("inspect writes the same bytes under a locale that groups digits")
{
    const TemporaryFolder folder;
    const auto inspect = [&](const std::string& name, const std::string& before) {
        const auto run = run_program(
            "inspect --weights '" + golden + "vit_cli_weights.safetensors' --out '" + (folder / name).string() + "'",
            before);
        REQUIRE_MESSAGE(run.status == 0, run.error);
    };
    inspect("classic", "");
    inspect("german", hostile);
    for (const std::string file : {"inspect.csv", "inspect.json", "inspect.html"}) {
        CAPTURE(file);
        const std::string expected = contents(folder / "classic" / file);
        CHECK_FALSE(expected.empty());
        CHECK(contents(folder / "german" / file) == expected);
    }
}

TEST_CASE("finetune under a locale that groups digits leaves files that compare, predict and the next finetune read")
{
    const TemporaryFolder folder;
    const std::string data = "--data tensors:'" + golden + "vit_cli_data.safetensors' ";
    const auto run = [&](const std::string& arguments, const std::string& before) {
        const auto outcome = run_program(arguments, before);
        REQUIRE_MESSAGE(outcome.status == 0, outcome.error);
    };
    const auto finetune = [&](const std::string& name, const std::string& before) {
        run("finetune --weights '" + golden + "vit_cli_weights.safetensors' " + data +
                "--method wasi --epochs 2 --batch-size 8 --lr 0.0125 --seed 3 --threads 1 --out '" +
                (folder / name).string() + "'",
            before);
    };
    // One thread: the order of allocations is then that of the program.
    finetune("classic", "");
    finetune("german", hostile);
    CHECK(contents(folder / "german/model.safetensors") == contents(folder / "classic/model.safetensors"));
    CHECK(contents(folder / "german/memory.csv") == contents(folder / "classic/memory.csv"));
    // Read back by the program in either locale.
    const std::string both = "'" + (folder / "classic").string() + "' '" + (folder / "german").string() + "' ";
    run("compare " + both + "--out '" + (folder / "a.html").string() + "'", "");
    run("compare " + both + "--out '" + (folder / "b.html").string() + "'", hostile);
    CHECK(contents(folder / "a.html") == contents(folder / "b.html"));
}
