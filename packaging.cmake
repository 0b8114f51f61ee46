# What `cmake --install build --prefix /usr` puts where.
include(GNUInstallDirs)

# whend looks for its workers beside itself.
foreach(program whend whend-camera whend-analyst whenctl whenscan)
  if(TARGET ${program})
    install(TARGETS ${program} RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
  endif()
endforeach()

# The unit names the programs where --prefix puts them, which may be elsewhere than the build thought.
install(CODE "set(WHEN_BINDIR \${CMAKE_INSTALL_PREFIX}/${CMAKE_INSTALL_BINDIR})
  configure_file(${CMAKE_SOURCE_DIR}/systemd/whend.service.in ${CMAKE_BINARY_DIR}/whend.service @ONLY)")
install(FILES ${CMAKE_BINARY_DIR}/whend.service DESTINATION lib/systemd/system)
install(FILES systemd/whend.sysusers DESTINATION lib/sysusers.d RENAME whend.conf)
install(FILES LICENSE README.md DESTINATION ${CMAKE_INSTALL_DOCDIR})
# An example, never a file in /etc that an upgrade would overwrite.
if(EXISTS ${CMAKE_SOURCE_DIR}/config/whend.yaml)
  install(FILES config/whend.yaml DESTINATION ${CMAKE_INSTALL_DOCDIR})
endif()
install(FILES proto/event.proto proto/query.proto DESTINATION ${CMAKE_INSTALL_DATADIR}/whend/proto)
if(EXISTS ${CMAKE_SOURCE_DIR}/demo/model/config.json)
  install(DIRECTORY demo/model/ DESTINATION ${CMAKE_INSTALL_DATADIR}/whend/demo-model)
endif()
