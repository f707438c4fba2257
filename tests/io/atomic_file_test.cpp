#include "wasi/io/atomic_file.hpp"

#include <doctest/doctest.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <csignal>
#include <filesystem>
#include <ostream>
#include <stdexcept>
#include <string>

#include <support/files.hpp>

using wasi::io_error;
using wasi::io::write_file_atomically;
using wasi_tests::bytes_of_file;
using wasi_tests::has;
using wasi_tests::message_of;
using wasi_tests::TemporaryFolder;
using wasi_tests::write_bytes;

namespace {

/// Files of this process cannot grow beyond `bytes` while this lives: writing ends with "File too large", as on a full
/// disk.
class FileSizeLimit {
public:
    explicit FileSizeLimit(::rlim_t bytes)
    {
        handler_ = std::signal(SIGXFSZ, SIG_IGN);
        ::getrlimit(RLIMIT_FSIZE, &before_);
        const ::rlimit limit{bytes, before_.rlim_max};
        ::setrlimit(RLIMIT_FSIZE, &limit);
    }
    FileSizeLimit(const FileSizeLimit&) = delete;
    FileSizeLimit& operator=(const FileSizeLimit&) = delete;
    ~FileSizeLimit()
    {
        ::setrlimit(RLIMIT_FSIZE, &before_);
        std::signal(SIGXFSZ, handler_);
    }

private:
    ::rlimit before_{};
    void (*handler_)(int) = SIG_DFL;
};

}  // namespace

TEST_CASE("atomic file: text and stream")
{
    const TemporaryFolder folder;
    write_file_atomically(folder / "report.json", "{}\n");
    CHECK(bytes_of_file(folder / "report.json") == "{}\n");
    write_file_atomically(folder / "report.json", [](std::ostream& out) { out << "step," << 5 << '\n'; });
    CHECK(bytes_of_file(folder / "report.json") == "step,5\n");
    write_file_atomically(folder / "report.json", "");
    CHECK(bytes_of_file(folder / "report.json").empty());
    CHECK(folder.entries() == 1);
}

TEST_CASE("atomic file: small and large pieces keep their order")
{
    const TemporaryFolder folder;
    std::string expected;
    write_file_atomically(folder / "file", [&](std::ostream& out) {
        for (std::size_t i = 0; i < 300; ++i) {
            const std::string piece(i % 10 == 9 ? 70'000 : i * 7 % 1000, static_cast<char>('a' + i % 26));
            out << piece << '\n';
            out.put('|');
            if (i % 50 == 0) {
                out.flush();
            }
            expected += piece + "\n|";
        }
        for (int i = 0; i < 100'000; ++i) {  // characters alone fill the buffer, too
            out.put(static_cast<char>('a' + i % 26));
            expected += static_cast<char>('a' + i % 26);
        }
    });
    CHECK(bytes_of_file(folder / "file") == expected);
}

TEST_CASE("atomic file: nothing is seen before it is whole, and nothing is left if it fails")
{
    const TemporaryFolder folder;
    write_file_atomically(folder / "file", "before");
    const auto half = [&](std::ostream& out) {
        out << "half" << std::flush;
        CHECK(folder.entries() == 2);
        CHECK(bytes_of_file(folder / "file") == "before");
        throw std::runtime_error("stop");
    };
    CHECK(message_of<std::runtime_error>([&] { write_file_atomically(folder / "file", half); }) == "stop");
    CHECK(bytes_of_file(folder / "file") == "before");
    CHECK(folder.entries() == 1);

    const auto failing = [](std::ostream& out) { out.setstate(std::ios::failbit); };
    CHECK(has(message_of<io_error>([&] { write_file_atomically(folder / "file", failing); }),
              "file: the stream was left"));
    CHECK(bytes_of_file(folder / "file") == "before");
    CHECK(folder.entries() == 1);
}

TEST_CASE("atomic file: a disk that is full")
{
    const TemporaryFolder folder;
    write_file_atomically(folder / "file", "before");
    for (const std::size_t piece : {std::size_t{1'000}, std::size_t{200'000}}) {  // through the buffer and past it
        std::string message;
        {
            const FileSizeLimit limit(100'000);
            message = message_of<io_error>([&] {
                write_file_atomically(folder / "file", [&](std::ostream& out) {
                    for (std::size_t written = 0; written < 400'000; written += piece) {
                        out << std::string(piece, 'x');
                    }
                });
            });
        }
        CHECK(message == (folder / "file").string() + ": cannot write: File too large");
        CHECK(bytes_of_file(folder / "file") == "before");
        CHECK(folder.entries() == 1);
    }
}

TEST_CASE("atomic file: places that cannot be written")
{
    const TemporaryFolder folder;
    const auto writing = [&](const std::filesystem::path& path) {
        return message_of<io_error>([&] { write_file_atomically(path, "text"); });
    };
    CHECK(writing(folder / "none" / "file") == (folder / "none" / "file").string() + ": cannot create a file in " +
                                                   (folder / "none").string() + ": No such file or directory");
    write_bytes(folder / "plain", "1");
    CHECK(has(writing(folder / "plain" / "file"), "Not a directory"));
    CHECK(writing(folder.path()) == folder.path().string() + ": exists and is not a regular file");
    CHECK(has(writing(folder.path() / ""), "names no file"));
    CHECK(has(writing(""), "names no file"));
    // A pipe stands for devices such as /dev/null: a broken check must not cost the machine one of them.
    REQUIRE(::mkfifo((folder / "pipe").c_str(), 0600) == 0);
    CHECK(writing(folder / "pipe") == (folder / "pipe").string() + ": exists and is not a regular file");
    CHECK(std::filesystem::is_fifo(folder / "pipe"));
    CHECK(has(writing(folder / std::string(300, 'n')), "File name too long"));
    if (::geteuid() != 0) {  // root may write everywhere
        std::filesystem::permissions(folder.path(),
                                     std::filesystem::perms::owner_read | std::filesystem::perms::owner_exec);
        CHECK(has(writing(folder / "file"), "Permission denied"));
        std::filesystem::permissions(folder.path(), std::filesystem::perms::owner_all);
    }
    CHECK(folder.entries() == 2);
}

TEST_CASE("atomic file: a name as long as the file system allows")
{
    const TemporaryFolder folder;
    const std::string name(255, 'n');
    write_file_atomically(folder / name, "text");
    CHECK(bytes_of_file(folder / name) == "text");
}

TEST_CASE("atomic file: a relative path")
{
    const TemporaryFolder folder;
    const std::filesystem::path before = std::filesystem::current_path();
    std::filesystem::current_path(folder.path());
    write_file_atomically("file", [&](std::ostream& out) {
        CHECK(folder.entries() == 1);  // the temporary file is here, not in some other folder
        out << "text";
    });
    std::filesystem::current_path(before);
    CHECK(bytes_of_file(folder / "file") == "text");
}

TEST_CASE("atomic file: permissions are kept")
{
    const TemporaryFolder folder;
    const ::mode_t mask = ::umask(022);
    write_file_atomically(folder / "file", "1");
    CHECK(std::filesystem::status(folder / "file").permissions() == std::filesystem::perms{0644});
    std::filesystem::permissions(folder / "file", std::filesystem::perms{0600});
    write_file_atomically(folder / "file", "2");
    CHECK(std::filesystem::status(folder / "file").permissions() == std::filesystem::perms{0600});
    ::umask(mask);
}

TEST_CASE("atomic file: a symbolic link is followed")
{
    const TemporaryFolder folder;
    std::filesystem::create_directory(folder / "there");
    write_bytes(folder / "there" / "file", "before");
    std::filesystem::create_symlink("there/file", folder / "link");
    write_file_atomically(folder / "link", "after");
    CHECK(std::filesystem::is_symlink(folder / "link"));
    CHECK(bytes_of_file(folder / "there" / "file") == "after");

    std::filesystem::remove(folder / "there" / "file");
    CHECK(message_of<io_error>([&] { write_file_atomically(folder / "link", "again"); }) ==
          (folder / "link").string() + ": is a symbolic link to nothing");
}
