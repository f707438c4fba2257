"""Conan 2 recipe of the headers. From a clone of the repository:

    conan create cmake/packaging/conan                              Eigen from Conan
    conan create cmake/packaging/conan -o "wasi/*:system=True"      Eigen and the rest from the machine; no network

Programs then find_package(wasi) and link wasi::wasi, as with any other installation: the package's own
wasiConfig.cmake is what they find, and `wasi_tune` comes with it.
"""

import os
import re

from conan import ConanFile
from conan.tools.build import check_min_cppstd
from conan.tools.cmake import CMake, CMakeDeps, CMakeToolchain, cmake_layout
from conan.tools.files import copy, load

required_conan_version = ">=2.0"


class WasiConan(ConanFile):
    name = "wasi"
    description = "Training transformers in weight and activation subspaces: low-rank numerics on Eigen, headers only"
    license = "Apache-2.0"
    topics = ("linear-algebra", "svd", "low-rank", "tucker", "vision-transformer", "header-only")
    package_type = "header-library"
    settings = "os", "arch", "compiler", "build_type"
    options = {
        "io": [True, False],  # wasi::io, safetensors files: nlohmann-json
        "pictures": [True, False],  # wasi::pictures: libjpeg-turbo, libpng, zlib
        "xtensor": [True, False],  # wasi::xtensor
        "system": [True, False],  # dependencies are what the machine has, nothing is required of Conan
    }
    default_options = {"io": False, "pictures": False, "xtensor": False, "system": False}
    no_copy_source = True

    @property
    def _root(self):
        """The repository: this file is three folders below it."""
        return os.path.normpath(os.path.join(self.recipe_folder, "..", "..", ".."))

    def set_version(self):
        text = load(self, os.path.join(self._root, "include", "wasi", "core", "version.hpp"))
        self.version = ".".join(re.findall(r"#define WASI_VERSION_(?:MAJOR|MINOR|PATCH) +(\d+)", text))

    def export_sources(self):
        for pattern in ("CMakeLists.txt", "LICENSE", "cmake/*", "include/*", "src/*"):
            copy(self, pattern, self._root, self.export_sources_folder)

    def requirements(self):
        if self.options.system:
            return
        self.requires("eigen/[>=3.4 <6]", transitive_headers=True)
        if self.options.io:
            self.requires("nlohmann_json/[>=3.9 <4]", transitive_headers=True)
        if self.options.pictures:
            self.requires("libjpeg-turbo/[>=2 <4]", transitive_headers=True)
            self.requires("libpng/[>=1.6 <2]", transitive_headers=True)
            self.requires("zlib/[>=1.2 <2]", transitive_headers=True)
        if self.options.xtensor:
            self.requires("xtensor/[>=0.24 <1]", transitive_headers=True)

    def validate(self):
        check_min_cppstd(self, 20)

    def layout(self):
        cmake_layout(self)

    def generate(self):
        toolchain = CMakeToolchain(self)
        toolchain.user_presets_path = False
        for name in ("TESTS", "EXAMPLES", "BENCHMARKS"):
            toolchain.cache_variables[f"WASI_BUILD_{name}"] = False
        toolchain.cache_variables["WASI_WITH_IO"] = bool(self.options.io)
        toolchain.cache_variables["WASI_WITH_PICTURES"] = bool(self.options.pictures)
        toolchain.cache_variables["WASI_WITH_XTENSOR"] = bool(self.options.xtensor)
        # What is missing is an error, not a download.
        toolchain.cache_variables["FETCHCONTENT_FULLY_DISCONNECTED"] = True
        toolchain.generate()
        if not self.options.system:
            CMakeDeps(self).generate()

    def build(self):
        CMake(self).configure()  # there is nothing to compile

    def package(self):
        CMake(self).install()
        copy(self, "LICENSE", self.source_folder, os.path.join(self.package_folder, "licenses"))

    def package_id(self):
        # The same headers for every compiler and whatever the dependencies come from.
        self.info.settings.clear()
        self.info.requires.clear()
        del self.info.options.system

    def package_info(self):
        self.cpp_info.bindirs = []
        self.cpp_info.libdirs = []
        self.cpp_info.set_property("cmake_find_mode", "none")
        self.cpp_info.builddirs = [os.path.join("lib", "cmake", "wasi")]
        self.cpp_info.set_property("pkg_config_name", "wasi")
