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

# A Debian package: cpack --config build/CPackConfig.cmake. Tried by ./run prove package.
set(CPACK_GENERATOR DEB)
set(CPACK_PACKAGE_NAME whend)
set(CPACK_PACKAGE_VERSION ${PROJECT_VERSION})
set(CPACK_PACKAGE_CONTACT "whend maintainers <whend@localhost>")
set(CPACK_PACKAGE_DESCRIPTION_SUMMARY "the when daemon: answers when something happened on its cameras")
set(CPACK_PACKAGING_INSTALL_PREFIX /usr)
set(CPACK_STRIP_FILES ON)
set(CPACK_DEBIAN_FILE_NAME DEB-DEFAULT)
set(CPACK_DEBIAN_PACKAGE_SECTION video)
set(CPACK_DEBIAN_PACKAGE_SHLIBDEPS ON)
# What is loaded at run time, and what the maintainer scripts call.
set(CPACK_DEBIAN_PACKAGE_DEPENDS "systemd, tzdata, gstreamer1.0-plugins-base, gstreamer1.0-plugins-good, gstreamer1.0-plugins-bad, gstreamer1.0-libav")
set(CPACK_DEBIAN_PACKAGE_RECOMMENDS tzdata)
set(CPACK_DEBIAN_PACKAGE_CONTROL_STRICT_PERMISSION ON)
set(CPACK_DEBIAN_PACKAGE_CONTROL_EXTRA
    "${CMAKE_SOURCE_DIR}/packaging/debian/postinst;${CMAKE_SOURCE_DIR}/packaging/debian/prerm;${CMAKE_SOURCE_DIR}/packaging/debian/postrm")
include(CPack)
