# Mends Kokkos::kokkos where its include folder does not exist (Debian 12's libtrilinos-kokkos-dev). Used by this
# build and by the installed package, so that users of foreweave::kokkos need not know.
if(TARGET Kokkos::kokkos)
  get_target_property(_dirs Kokkos::kokkos INTERFACE_INCLUDE_DIRECTORIES)
  foreach(_dir IN LISTS _dirs)
    if(IS_ABSOLUTE "${_dir}" AND NOT EXISTS "${_dir}")
      set_target_properties(Kokkos::kokkos PROPERTIES INTERFACE_INCLUDE_DIRECTORIES "")
      target_include_directories(Kokkos::kokkos SYSTEM INTERFACE ${Kokkos_INCLUDE_DIRS})
      break()
    endif()
  endforeach()
endif()
