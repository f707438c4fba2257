#include <doctest/doctest.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <functional>
#include <ostream>
#include <string>
#include <vector>

#include <support/files.hpp>
#include "wasi/io/atomic_file.hpp"

// What a save asks of the system, in which order, and what is left of one whose process was killed.
namespace {

using wasi::io::remove_stale_temporaries;
using wasi::io::write_file_atomically;
using wasi::io::detail::FileCalls;
using wasi_tests::bytes_of_file;
using wasi_tests::TemporaryFolder;
using wasi_tests::write_bytes;

std::vector<std::string> calls;  // those of the functions below, in order

::ssize_t noted_write(int descriptor, const void* data, std::size_t size)
{
    calls.emplace_back("write");
    return ::write(descriptor, data, size);
}
int noted_fsync(int descriptor)
{
    struct ::stat status {};
    REQUIRE(::fstat(descriptor, &status) == 0);
    calls.emplace_back(S_ISDIR(status.st_mode) ? "fsync of the folder" : "fsync");
    return ::fsync(descriptor);
}
int noted_rename(const char* from, const char* to)
{
    calls.emplace_back("rename");
    return ::rename(from, to);
}

/// Takes at most a thousand bytes, and is interrupted every third time.
::ssize_t hesitant_write(int descriptor, const void* data, std::size_t size)
{
    static int count = 0;
    if (++count % 3 == 0) {
        errno = EINTR;
        return -1;
    }
    return ::write(descriptor, data, std::min<std::size_t>(size, 1'000));
}

/// A child process that saves "child" to a path and stops in the middle until it is told to go on.
class Saving {
public:
    explicit Saving(const std::filesystem::path& path)
    {
        REQUIRE(::pipe(begun_) == 0);
        REQUIRE(::pipe(go_on_) == 0);
        child_ = ::fork();
        REQUIRE(child_ >= 0);
        if (child_ == 0) {
            ::close(begun_[0]);
            ::close(go_on_[1]);  // so that it does not wait for a parent that is gone
            try {
                write_file_atomically(path, [&](std::ostream& out) {
                    out << "chi" << std::flush;
                    char byte = 0;
                    const bool told = ::write(begun_[1], &byte, 1) == 1 && ::read(go_on_[0], &byte, 1) == 1;
                    out << (told ? "ld" : "ldless");
                });
            } catch (...) {  // not into the parent's tests
                ::_exit(1);
            }
            ::_exit(0);
        }
        char byte = 0;
        REQUIRE(::read(begun_[0], &byte, 1) == 1);
    }
    Saving(const Saving&) = delete;
    Saving& operator=(const Saving&) = delete;
    ~Saving()
    {
        if (child_ > 0) {
            kill();
        }
        for (const int descriptor : {begun_[0], begun_[1], go_on_[0], go_on_[1]}) {
            ::close(descriptor);
        }
    }

    void kill()
    {
        ::kill(child_, SIGKILL);
        wait();
    }
    /// The exit status.
    int finish()
    {
        const char byte = 0;
        REQUIRE(::write(go_on_[1], &byte, 1) == 1);
        return wait();
    }

private:
    int wait()
    {
        int status = 0;
        ::waitpid(child_, &status, 0);
        child_ = -1;
        return status;
    }

    int begun_[2]{};
    int go_on_[2]{};
    ::pid_t child_ = -1;
};

TEST_CASE("a save: all bytes, then to the disk, then the name, then the folder")
{
    const TemporaryFolder folder;
    calls.clear();
    wasi::io::detail::write_file(
        folder / "file", [](std::ostream& out) { out << std::string(200'000, 'x') << "end"; },
        FileCalls{noted_write, noted_fsync, noted_rename});
    CHECK(calls == std::vector<std::string>{"write", "write", "fsync", "rename", "fsync of the folder"});
    CHECK(bytes_of_file(folder / "file").size() == 200'003);
}

TEST_CASE("a system that takes a part of what it is given, and is interrupted: the file is right")
{
    const TemporaryFolder folder;
    std::string expected;
    for (int i = 0; i < 30'000; ++i) {
        expected += std::to_string(i) + ' ';
    }
    wasi::io::detail::write_file(
        folder / "file",
        [&](std::ostream& out) {
            out << expected;  // past the buffer
            for (const char c : expected) {
                out.put(c);  // through it
            }
        },
        FileCalls{hesitant_write});
    CHECK(bytes_of_file(folder / "file") == expected + expected);
}

TEST_CASE("what a killed save left goes with the next one in that folder")
{
    const TemporaryFolder folder;
    write_file_atomically(folder / "file", "before");
    for (const char* next : {"file", "other"}) {
        Saving saving(folder / "file");
        saving.kill();
        const auto entries = folder.entries();
        CHECK(bytes_of_file(folder / "file") == "before");
        write_file_atomically(folder / next, "before");
        CHECK(folder.entries() == entries - (next == std::string("file") ? 1 : 0));
        CHECK(remove_stale_temporaries(folder.path()) == 0);
    }
    // By hand, and here by way of the present folder.
    Saving(folder / "file").kill();
    const std::filesystem::path before = std::filesystem::current_path();
    std::filesystem::current_path(folder.path());
    CHECK(remove_stale_temporaries("") == 1);
    std::filesystem::current_path(before);
    CHECK(folder.entries() == 2);
}

TEST_CASE("a file that another process is writing stays")
{
    const TemporaryFolder folder;
    Saving saving(folder / "file");
    write_file_atomically(folder / "file", "ours");
    write_file_atomically(folder / "other", "ours");
    CHECK(remove_stale_temporaries(folder.path()) == 0);
    CHECK(folder.entries() == 3);
    CHECK(saving.finish() == 0);
    CHECK(bytes_of_file(folder / "file") == "child");
    CHECK(folder.entries() == 2);
}

TEST_CASE("a file stays while its writer closes it and gives it its name")
{
    const TemporaryFolder folder;
    static std::filesystem::path swept;
    static std::size_t removed;
    swept = folder.path();
    FileCalls sweeping;
    sweeping.rename = [](const char* from, const char* to) {
        removed = remove_stale_temporaries(swept);
        return ::rename(from, to);
    };
    removed = 1;
    wasi::io::detail::write_file(
        folder / "file", [](std::ostream& out) { out << "whole"; }, sweeping);
    CHECK(removed == 0);
    CHECK(bytes_of_file(folder / "file") == "whole");
}

TEST_CASE("what is not a temporary file of ours stays")
{
    const TemporaryFolder folder;
    for (const char* name : {".wasi-save-1-2.tmp.txt", ".wasi-save-1.tmp", ".wasi-save--2.tmp", ".wasi-save-1-.tmp",
                             ".wasi-save-1-2x.tmp", "wasi-save-1-2.tmp", ".wasi-save-.tmp", ".wasi-save.tmp"}) {
        write_bytes(folder / name, "theirs");
    }
    std::filesystem::create_directory(folder / ".wasi-save-1-3.tmp");
    std::filesystem::create_symlink("wasi-save-1-2.tmp", folder / ".wasi-save-1-4.tmp");
    REQUIRE(::mkfifo((folder / ".wasi-save-1-5.tmp").c_str(), 0600) == 0);
    const auto entries = folder.entries();
    CHECK(remove_stale_temporaries(folder.path()) == 0);
    CHECK(folder.entries() == entries);
    write_bytes(folder / ".wasi-save-1-2.tmp", "ours");
    CHECK(remove_stale_temporaries(folder.path()) == 1);
    CHECK(folder.entries() == entries);
    CHECK(remove_stale_temporaries(folder / "none") == 0);
}

}  // namespace
