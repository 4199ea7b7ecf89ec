# One folder, one target. `sluice_folder(NAME DEPS...)` makes the static library sluice_NAME (alias
# sluice::NAME, "/" becoming "_") from the folder's *.cc, and the test program NAME_test from its
# *_test.cc. main.cc files are left to the folder's own CMakeLists. Options: LABELS for the tests
# (`grpc` keeps them out of the TSan run), TEST_DEPS.

add_library(sluice_options INTERFACE)
target_compile_options(sluice_options INTERFACE -Wall -Wextra -Werror -fno-omit-frame-pointer)
target_include_directories(sluice_options INTERFACE ${PROJECT_SOURCE_DIR})
target_compile_definitions(sluice_options INTERFACE
  BOOST_ASIO_NO_DEPRECATED BOOST_ASIO_DISABLE_VISIBILITY SLUICE_VERSION="${PROJECT_VERSION}")
# GCC 12 warns falsely about moved-from std::optional and std::variant members at -O1 and up, and
# about null `this` in inlined libstdc++ strings.
if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
  target_compile_options(sluice_options INTERFACE
    -Wno-maybe-uninitialized -Wno-restrict -Wno-stringop-overflow -Wno-array-bounds
    -Wno-stringop-overread -Wno-nonnull)
endif()
# At -O1 it also takes the allocation functions of Asio's coroutine frames for mismatched.
if(SLUICE_SANITIZE STREQUAL "address")
  # Without null, alignment, vptr and object-size: twice the compile time, no findings of ours.
  set(flags -fsanitize=address,undefined -fno-sanitize=null,alignment,vptr,object-size
    -fno-sanitize-recover=all -Wno-mismatched-new-delete)
elseif(SLUICE_SANITIZE STREQUAL "thread")
  # Asio's fences, which TSan does not see, order nothing between threads here.
  set(flags -fsanitize=thread -Wno-tsan -Wno-mismatched-new-delete)
endif()
if(SLUICE_COVERAGE)
  list(APPEND flags --coverage)
endif()
if(SLUICE_FUZZ)
  # Without function: clang 14 cannot place its prologue in coroutines.
  list(APPEND flags -fsanitize=fuzzer-no-link,address,undefined -fno-sanitize=vptr,function)
endif()
target_compile_options(sluice_options INTERFACE ${flags})
target_link_options(sluice_options INTERFACE ${flags})

function(sluice_folder name)
  cmake_parse_arguments(ARG "" "" "DEPS;TEST_DEPS;LABELS" ${ARGN})
  string(REPLACE "/" "_" target ${name})
  file(GLOB sources CONFIGURE_DEPENDS ${CMAKE_CURRENT_SOURCE_DIR}/*.cc)
  file(GLOB tests CONFIGURE_DEPENDS ${CMAKE_CURRENT_SOURCE_DIR}/*_test.cc)
  file(GLOB protos CONFIGURE_DEPENDS ${CMAKE_CURRENT_SOURCE_DIR}/*.proto)
  list(REMOVE_ITEM sources ${tests} ${CMAKE_CURRENT_SOURCE_DIR}/main.cc)
  if(sources OR protos)
    add_library(sluice_${target} STATIC ${sources})
    target_link_libraries(sluice_${target} PUBLIC sluice_options ${ARG_DEPS})
  else()
    add_library(sluice_${target} INTERFACE)
    target_link_libraries(sluice_${target} INTERFACE sluice_options ${ARG_DEPS})
  endif()
  if(protos)
    sluice_protos(sluice_${target} ${protos})
  endif()
  add_library(sluice::${target} ALIAS sluice_${target})
  if(SLUICE_TESTS AND tests AND NOT SLUICE_FUZZ)
    add_executable(${target}_test ${tests})
    set_target_properties(${target}_test PROPERTIES
      RUNTIME_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR}/tests)
    target_link_libraries(${target}_test PRIVATE sluice_${target} ${ARG_TEST_DEPS} GTest::gtest_main)
    add_test(NAME ${target} COMMAND ${target}_test)
    if(target IN_LIST SLUICE_SANITIZED)
      list(APPEND ARG_LABELS sanitized)
    endif()
    set_tests_properties(${target} PROPERTIES LABELS "unit;${ARG_LABELS}" TIMEOUT 300)
  endif()
endfunction()

# Generates C++ for .proto files into the build tree, included by their path from the root (or from
# proto/ for those that live there).
function(sluice_protos target)
  cmake_parse_arguments(ARG "" "ROOT" "" ${ARGN})
  if(NOT ARG_ROOT)
    set(ARG_ROOT ${PROJECT_SOURCE_DIR})
  endif()
  set(out ${PROJECT_BINARY_DIR}/gen)
  file(MAKE_DIRECTORY ${out})
  # Not protobuf_generate(): that takes paths from the calling folder instead of ARG_ROOT.
  foreach(proto ${ARG_UNPARSED_ARGUMENTS})
    file(RELATIVE_PATH path ${ARG_ROOT} ${proto})
    string(REGEX REPLACE "\\.proto$" "" path ${path})
    add_custom_command(
      OUTPUT ${out}/${path}.pb.cc ${out}/${path}.pb.h
      COMMAND protobuf::protoc --cpp_out ${out} -I ${ARG_ROOT} ${proto}
      DEPENDS ${proto} protobuf::protoc
      VERBATIM)
    target_sources(${target} PRIVATE ${out}/${path}.pb.cc ${out}/${path}.pb.h)
  endforeach()
  target_include_directories(${target} SYSTEM PUBLIC ${out})
  target_link_libraries(${target} PUBLIC protobuf::libprotobuf)
endfunction()
