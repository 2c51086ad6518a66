# libtorch as an imported target, from the wheel's own paths: no CUDA toolkit is asked for, also where the wheel is a
# CUDA one (its libraries are then linked as they lie).
if(NOT WRING_TORCH)
  file(GLOB WRING_TORCH_FOUND ${CMAKE_SOURCE_DIR}/build/venv/lib/python3*/site-packages/torch)
  list(GET WRING_TORCH_FOUND 0 WRING_TORCH_DIR)
else()
  set(WRING_TORCH_DIR ${WRING_TORCH})
endif()
if(NOT EXISTS ${WRING_TORCH_DIR}/lib/libtorch_cpu.so)
  message(FATAL_ERROR "No libtorch: run scripts/bootstrap, or pass -DWRING_TORCH=DIR (the folder with include/ and lib/)")
endif()
message(STATUS "libtorch: ${WRING_TORCH_DIR}")

add_library(wring_torch INTERFACE)
target_include_directories(wring_torch SYSTEM INTERFACE
  ${WRING_TORCH_DIR}/include ${WRING_TORCH_DIR}/include/torch/csrc/api/include)
target_compile_definitions(wring_torch INTERFACE _GLIBCXX_USE_CXX11_ABI=1)
target_link_options(wring_torch INTERFACE -Wl,--no-as-needed)
set(WRING_TORCH_LIBRARIES ${WRING_TORCH_DIR}/lib/libtorch.so ${WRING_TORCH_DIR}/lib/libtorch_cpu.so ${WRING_TORCH_DIR}/lib/libc10.so)
foreach(name torch_cuda c10_cuda)
  if(EXISTS ${WRING_TORCH_DIR}/lib/lib${name}.so)
    list(APPEND WRING_TORCH_LIBRARIES ${WRING_TORCH_DIR}/lib/lib${name}.so)
  endif()
endforeach()
# libstdc++ first: the CUDA wheel's libtorch.so exports std::filesystem functions of its own build, half of them missing,
# and the loader takes the first it finds.
target_link_libraries(wring_torch INTERFACE stdc++ ${WRING_TORCH_LIBRARIES})

# at::parallel_for is a template that runs serially unless its user compiles with OpenMP; torch's own runtime is linked,
# so that there is one pool of threads.
file(GLOB WRING_TORCH_GOMP ${WRING_TORCH_DIR}/lib/libgomp*.so* ${WRING_TORCH_DIR}/../torch.libs/libgomp*.so*)
if(NOT WRING_TORCH_GOMP)
  set(WRING_TORCH_GOMP gomp)
endif()
list(GET WRING_TORCH_GOMP 0 WRING_TORCH_GOMP)
target_compile_options(wring_torch INTERFACE -fopenmp)
target_link_libraries(wring_torch INTERFACE ${WRING_TORCH_GOMP})
