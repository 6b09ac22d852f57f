# Every library that Lorry links, from Debian 12 (tools/setup.sh installs them); reasons in docs/dependencies.md.
find_package(Threads REQUIRED)
find_package(Boost 1.81 EXACT REQUIRED COMPONENTS json)
find_package(spdlog REQUIRED)
find_package(tl-expected REQUIRED)
find_package(prometheus-cpp REQUIRED COMPONENTS core)
find_package(tomlplusplus REQUIRED)
find_package(Eigen3 3.4 REQUIRED NO_MODULE)
find_package(PkgConfig REQUIRED)
pkg_check_modules(xxhash REQUIRED IMPORTED_TARGET libxxhash)
pkg_check_modules(re2 REQUIRED IMPORTED_TARGET re2)
pkg_check_modules(libarchive REQUIRED IMPORTED_TARGET libarchive)
find_package(ZLIB REQUIRED)
if(LORRY_TESTS)
  find_package(GTest REQUIRED)
endif()

add_library(lorry_flags INTERFACE)
target_compile_options(lorry_flags INTERFACE -Wall -Wextra -Werror -Wno-missing-field-initializers)
if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
  # Boost and libstdc++ headers trip these falsely at -O2 with g++ 12.
  target_compile_options(lorry_flags INTERFACE -Wno-maybe-uninitialized -Wno-restrict
                                               -Wno-stringop-overflow -Wno-array-bounds)
endif()
if(LORRY_SANITIZE)
  add_compile_options(-fsanitize=${LORRY_SANITIZE} -fno-omit-frame-pointer -g1
                      -fno-sanitize-recover=all)
  add_link_options(-fsanitize=${LORRY_SANITIZE})
endif()
