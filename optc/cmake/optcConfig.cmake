# find_package(optc) defines optc_add_model, which compiles a model as a step of the build.
#
#   optc_add_model(NAME FILE model.onnx
#                  [STATIC | SHARED]        the kind of library (default: STATIC)
#                  [TARGET cpu]             what optc targets lists, or a target file
#                  [SHAPE x=1,3,32,32 ...]  all dimensions of inputs
#                  [DIM batch=1 ...]        symbolic dimensions
#                  [THREADS n]              threads of a run
#                  [TUNE 0 | 30s | auto]    time for measuring schedules (default: 0, so that builds repeat exactly)
#                  [OUTPUT folder]          the artifact (default: NAME.optc in the build folder)
#                  [OPTIONS ...])           further options of optc compile
#
# NAME becomes a library to link: its header NAME.h is on the include path, and NAME_open needs no file at run time.
# The model is compiled again when it, its external weights or optc itself change. The variable OPTC_EXECUTABLE names
# the command; OPTC_CACHE_DIR in the environment says where finished kernels are kept.
if(CMAKE_VERSION VERSION_LESS 3.20)
  message(FATAL_ERROR "optc needs CMake 3.20 or later")
endif()

find_program(OPTC_EXECUTABLE optc DOC "The optc command")
if(NOT OPTC_EXECUTABLE)
  set(optc_FOUND FALSE)
  set(optc_NOT_FOUND_MESSAGE "The command optc was not found: set OPTC_EXECUTABLE, or activate its environment.")
  return()
endif()
find_package(Threads REQUIRED)

function(optc_add_model name)
  cmake_parse_arguments(PARSE_ARGV 1 arg "STATIC;SHARED" "FILE;TARGET;THREADS;TUNE;OUTPUT" "SHAPE;DIM;OPTIONS")
  if(arg_UNPARSED_ARGUMENTS)
    message(FATAL_ERROR "optc_add_model(${name}): unknown arguments: ${arg_UNPARSED_ARGUMENTS}")
  endif()
  if(NOT arg_FILE)
    message(FATAL_ERROR "optc_add_model(${name}): FILE is missing")
  endif()
  if(arg_STATIC AND arg_SHARED)
    message(FATAL_ERROR "optc_add_model(${name}): STATIC and SHARED exclude each other")
  endif()
  get_filename_component(file "${arg_FILE}" ABSOLUTE BASE_DIR "${CMAKE_CURRENT_SOURCE_DIR}")
  if(NOT arg_OUTPUT)
    set(arg_OUTPUT "${name}.optc")
  endif()
  get_filename_component(folder "${arg_OUTPUT}" ABSOLUTE BASE_DIR "${CMAKE_CURRENT_BINARY_DIR}")
  if(arg_SHARED)
    set(kind SHARED)
    set(emit shared)
    set(library "${folder}/lib${name}.so")
  else()
    set(kind STATIC)
    set(emit static)
    set(library "${folder}/lib${name}.a")
  endif()
  if(NOT DEFINED arg_TUNE)
    set(arg_TUNE 0)
  endif()
  set(options --tune "${arg_TUNE}" --emit ${emit} --name ${name})
  if(arg_TARGET)
    list(APPEND options --target "${arg_TARGET}")
  endif()
  if(arg_THREADS)
    list(APPEND options --threads ${arg_THREADS})
  endif()
  foreach(shape IN LISTS arg_SHAPE)
    list(APPEND options --shape "${shape}")
  endforeach()
  foreach(dim IN LISTS arg_DIM)
    list(APPEND options --dim "${dim}")
  endforeach()
  set(depfile "${CMAKE_CURRENT_BINARY_DIR}/${name}.optc.d")
  add_custom_command(
    OUTPUT "${folder}/manifest.json"
    BYPRODUCTS "${library}" "${folder}/${name}.h" "${folder}/optc_model.h" "${folder}/${name}.pc"
    COMMAND "${OPTC_EXECUTABLE}" compile "${file}" -o "${folder}" --depfile "${depfile}" ${options} ${arg_OPTIONS}
    DEPENDS "${file}" "${CMAKE_CURRENT_FUNCTION_LIST_DIR}/../version.py"
    DEPFILE "${depfile}"
    COMMENT "Compiling the model ${name}"
    VERBATIM)
  add_custom_target(${name}_artifact DEPENDS "${folder}/manifest.json")
  file(MAKE_DIRECTORY "${folder}")
  add_library(${name} ${kind} IMPORTED GLOBAL)
  add_dependencies(${name} ${name}_artifact)
  set_target_properties(
    ${name}
    PROPERTIES IMPORTED_LOCATION "${library}"
               INTERFACE_INCLUDE_DIRECTORIES "${folder}"
               INTERFACE_LINK_LIBRARIES "Threads::Threads;m")
  set(${name}_ARTIFACT "${folder}" PARENT_SCOPE)
endfunction()
