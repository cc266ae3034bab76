# What `cmake --install` puts where: the library, its headers, the CMake package, foreweave.pc, and the programs.
# Everything moves with its prefix. docs/install.md tells users.
include(CMakePackageConfigHelpers)
set(_package_dir ${CMAKE_INSTALL_LIBDIR}/cmake/foreweave)

install(TARGETS foreweave EXPORT foreweaveTargets
  LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR}
  INCLUDES DESTINATION ${CMAKE_INSTALL_INCLUDEDIR} ${CMAKE_INSTALL_INCLUDEDIR}/foreweave/internal)
install(DIRECTORY ${PROJECT_SOURCE_DIR}/include/foreweave DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}
  FILES_MATCHING PATTERN *.hpp)
# Public headers name the codec's declaration; `kernels` is no name to put straight into a shared include folder.
install(FILES ${PROJECT_SOURCE_DIR}/kernels/decl/page_codec.hpp
  DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}/foreweave/internal/kernels/decl)

install(EXPORT foreweaveTargets NAMESPACE foreweave:: DESTINATION ${_package_dir})
configure_package_config_file(${CMAKE_CURRENT_LIST_DIR}/foreweaveConfig.cmake.in
  ${PROJECT_BINARY_DIR}/package/foreweaveConfig.cmake INSTALL_DESTINATION ${_package_dir}
  PATH_VARS CMAKE_INSTALL_BINDIR)
# Before 1.0 a new minor version may change any interface.
write_basic_package_version_file(${PROJECT_BINARY_DIR}/package/foreweaveConfigVersion.cmake
  COMPATIBILITY SameMinorVersion)
install(FILES ${PROJECT_BINARY_DIR}/package/foreweaveConfig.cmake
  ${PROJECT_BINARY_DIR}/package/foreweaveConfigVersion.cmake ${CMAKE_CURRENT_LIST_DIR}/foreweave_kokkos.cmake
  DESTINATION ${_package_dir})

file(RELATIVE_PATH FOREWEAVE_PC_PREFIX /${CMAKE_INSTALL_LIBDIR}/pkgconfig /)
configure_file(${CMAKE_CURRENT_LIST_DIR}/foreweave.pc.in ${PROJECT_BINARY_DIR}/package/foreweave.pc @ONLY)
install(FILES ${PROJECT_BINARY_DIR}/package/foreweave.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)

install(PROGRAMS ${PROJECT_SOURCE_DIR}/mpi-launch/foreweave-run DESTINATION ${CMAKE_INSTALL_BINDIR})
if(TARGET foreweave_cli)
  file(RELATIVE_PATH _bin_to_lib ${CMAKE_INSTALL_FULL_BINDIR} ${CMAKE_INSTALL_FULL_LIBDIR})
  set_target_properties(foreweave_cli PROPERTIES INSTALL_RPATH "$ORIGIN/${_bin_to_lib}")
  install(TARGETS foreweave_cli RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
  install(PROGRAMS ${PROJECT_SOURCE_DIR}/src/tools/report/foreweave_report.py
    DESTINATION ${CMAKE_INSTALL_DATADIR}/foreweave)
endif()
