# lorry_module(NAME <module> SRCS ... [TESTS x_test.cc ...] [DEPS modules or libraries ...] [TEST_DEPS ...])
#
# Builds the static library lorry_<module> and one test binary <module>_test. Every module has an include
# root of its own that shows only that module, so including something not listed in DEPS does not compile.
function(lorry_module)
  cmake_parse_arguments(ARG "" "NAME" "SRCS;TESTS;DEPS;TEST_DEPS" ${ARGN})
  set(target lorry_${ARG_NAME})
  set(root ${CMAKE_BINARY_DIR}/include_roots/${ARG_NAME})
  file(MAKE_DIRECTORY ${root})
  file(CREATE_LINK ${CMAKE_SOURCE_DIR}/src/${ARG_NAME} ${root}/${ARG_NAME} SYMBOLIC)

  set(deps)
  foreach(dep ${ARG_DEPS})
    if(EXISTS ${CMAKE_SOURCE_DIR}/src/${dep}/CMakeLists.txt)
      list(APPEND deps lorry_${dep})
    else()
      list(APPEND deps ${dep})
    endif()
  endforeach()

  add_library(${target} STATIC ${ARG_SRCS})
  target_include_directories(${target} PUBLIC ${root})
  target_link_libraries(${target} PUBLIC ${deps} PRIVATE lorry_flags)

  if(LORRY_TESTS AND ARG_TESTS)
    add_executable(${ARG_NAME}_test ${ARG_TESTS})
    target_link_libraries(${ARG_NAME}_test PRIVATE ${target} ${ARG_TEST_DEPS} GTest::gmock
                                                   lorry_source_dir GTest::gtest_main lorry_flags)
    add_test(NAME ${ARG_NAME} COMMAND ${ARG_NAME}_test)
    set_tests_properties(${ARG_NAME} PROPERTIES LABELS unit TIMEOUT 600)
    add_dependencies(unit_tests ${ARG_NAME}_test)
  endif()
endfunction()
