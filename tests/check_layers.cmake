# SPDX-License-Identifier: Apache-2.0
#
# check_layers.cmake: who may include whom. The picture of docs/architecture.md as a test.
#
#   cmake -DROOT=. -P tests/check_layers.cmake             every .c and .h of the product against the tables below
#   cmake -DSELF_TEST=dir -P tests/check_layers.cmake      makes small trees in dir with one violation each and expects
#                                                          each to be found, and a clean one to pass
#
# Rules
#   1. #include "..." gives a path from the root, the file exists there, and folder A includes folder B only if B is in
#      MAY_A. Exceptions are single files, in MAY_FILE_A.
#   2. #include <...> of an outside library only in the files the LIBRARY table names.
#   3. Folders that must not touch the operating system do not include its headers (NO_SYSTEM).
cmake_minimum_required(VERSION 3.25)

set(FOLDERS core/base core transport proto_mqtt proto_stomp persist auth bridge admin app)

set(MAY_core/base   core/base)
set(MAY_core        core core/base)
set(MAY_transport   transport core core/base)
set(MAY_proto_mqtt  proto_mqtt core core/base)
set(MAY_proto_stomp proto_stomp core core/base)
set(MAY_persist     persist core core/base)
set(MAY_auth        auth core core/base)
set(MAY_bridge      bridge core core/base)
set(MAY_admin       admin core core/base)
set(MAY_app         ${FOLDERS})
set(MAY_FILE_bridge proto_mqtt/mqtt_wire.h) # a bridge speaks MQTT as a peer does, with the codec only

# <header pattern> <files that may include it>
set(LIBRARIES
    "^(ev|ev\\+\\+|event)\\.h$"  "^core/loop_ev\\.c$"
    "^(mbedtls|psa|everest)/"    "^(transport/tls\\.c$|auth/)"
    "^llhttp"                    "^transport/http_upgrade\\.c$"
    "^(protobuf-c|google/protobuf-c)/" "^(persist|bridge)/"
    "^(cmocka|check)\\.h$"       "^$"
    "^(openssl|gnutls|wolfssl|nats|sqlite3|lmdb)" "^$")

# Sans-IO: adapters and core see bytes and time as arguments.
set(SYSTEM_HEADERS
    "^(sys/(socket|epoll|poll|select|un|eventfd|timerfd|signalfd|mman|stat|ioctl)|netinet/.*|arpa/inet|netdb|poll|fcntl|unistd|pthread|signal|termios|syslog|dirent)\\.h$")
set(NO_SYSTEM "^(core/[^/]*|proto_mqtt/.*|proto_stomp/.*)$")
set(NO_SYSTEM_BUT "^core/(loop_ev\\.c|shard\\.c)$") # the loop itself, and the wake-up of its mailbox

# folder_of(path out): the folder a path from the root belongs to, "" if none of the product's
function(folder_of path out)
  foreach(folder IN LISTS FOLDERS) # core/base comes before core
    if(path MATCHES "^${folder}/")
      set(${out} ${folder} PARENT_SCOPE)
      return()
    endif()
  endforeach()
  set(${out} "" PARENT_SCOPE)
endfunction()

# check_quoted(root file header out): the violation, or ""
function(check_quoted root file header out)
  folder_of(${file} from)
  folder_of(${header} to)
  set(${out} "" PARENT_SCOPE)
  if(NOT header MATCHES "/")
    set(${out} "\"${header}\" is not a path from the root" PARENT_SCOPE)
  elseif(header MATCHES "\\.\\./" OR header MATCHES "^/")
    set(${out} "\"${header}\" is not a plain path from the root" PARENT_SCOPE)
  elseif(to STREQUAL "")
    set(${out} "\"${header}\" is outside the folders of the product" PARENT_SCOPE)
  elseif(NOT to IN_LIST MAY_${from} AND NOT header IN_LIST MAY_FILE_${from})
    set(${out} "${from} may not include ${to} (\"${header}\")" PARENT_SCOPE)
  elseif(header MATCHES "\\.pb-c\\.h$")
    if(NOT from MATCHES "^(persist|bridge)$")
      set(${out} "generated protobuf-c code (\"${header}\") is for persist and bridge" PARENT_SCOPE)
    endif()
  elseif(NOT EXISTS ${root}/${header})
    set(${out} "\"${header}\" does not exist" PARENT_SCOPE)
  endif()
endfunction()

# check_angle(file header out): the violation, or ""
function(check_angle file header out)
  set(${out} "" PARENT_SCOPE)
  list(LENGTH LIBRARIES n)
  math(EXPR last "${n} - 1")
  foreach(i RANGE 0 ${last} 2)
    math(EXPR j "${i} + 1")
    list(GET LIBRARIES ${i} pattern)
    list(GET LIBRARIES ${j} allowed)
    if(header MATCHES "${pattern}" AND NOT file MATCHES "${allowed}")
      set(${out} "<${header}> has no place here" PARENT_SCOPE)
      return()
    endif()
  endforeach()
  if(header MATCHES "${SYSTEM_HEADERS}" AND file MATCHES "${NO_SYSTEM}" AND NOT file MATCHES "${NO_SYSTEM_BUT}")
    set(${out} "<${header}>: this folder does not touch the operating system" PARENT_SCOPE)
  endif()
  folder_of("${header}" inside)
  if(NOT inside STREQUAL "")
    set(${out} "<${header}> is ours: write it in quotes" PARENT_SCOPE)
  endif()
endfunction()

# check_tree(root out_violations out_files_n)
function(check_tree root out out_n)
  set(found "")
  set(n 0)
  foreach(folder IN LISTS FOLDERS)
    if(folder STREQUAL "core")
      file(GLOB files RELATIVE ${root} ${root}/core/*.c ${root}/core/*.h)
    else()
      file(GLOB_RECURSE files RELATIVE ${root} ${root}/${folder}/*.c ${root}/${folder}/*.h)
    endif()
    foreach(file IN LISTS files)
      math(EXPR n "${n} + 1")
      file(STRINGS ${root}/${file} lines REGEX "^[ \t]*#[ \t]*include")
      foreach(line IN LISTS lines)
        set(problem "")
        if(line MATCHES "^[ \t]*#[ \t]*include[ \t]*\"([^\"]*)\"")
          check_quoted(${root} ${file} "${CMAKE_MATCH_1}" problem)
        elseif(line MATCHES "^[ \t]*#[ \t]*include[ \t]*<([^>]*)>")
          check_angle(${file} "${CMAKE_MATCH_1}" problem)
        else()
          set(problem "cannot read this include: ${line}")
        endif()
        if(NOT problem STREQUAL "")
          list(APPEND found "${file}: ${problem}")
        endif()
      endforeach()
    endforeach()
  endforeach()
  set(${out} "${found}" PARENT_SCOPE)
  set(${out_n} ${n} PARENT_SCOPE)
endfunction()

# expect(name file line count): a tree with all the files that exist legally, and one file with one include line
function(expect name file line count)
  set(root ${SELF_TEST}/${name})
  file(REMOVE_RECURSE ${root})
  foreach(header core/base/err.h core/adapter.h transport/tcp.h proto_mqtt/mqtt_wire.h proto_mqtt/mqtt_conn.h
                 proto_stomp/stomp_wire.h persist/wal.h auth/scram.h admin/http.h app/config.h tests/support/guard.h)
    file(WRITE ${root}/${header} "#include <stddef.h>\n")
  endforeach()
  file(APPEND ${root}/${file} "#include <stdint.h>\n${line}\nint x[3];\n")
  check_tree(${root} found n)
  list(LENGTH found found_n)
  if(n LESS 9 OR NOT found_n EQUAL count)
    message(FATAL_ERROR "self-test ${name}: ${count} violation(s) expected, got ${found_n} in ${n} files: ${found}")
  endif()
endfunction()

if(DEFINED SELF_TEST)
  expect(clean      proto_mqtt/a.c  "#include \"core/adapter.h\"" 0)
  expect(own        proto_mqtt/a.c  "#include \"proto_mqtt/mqtt_wire.h\"" 0)
  expect(app        app/main.c      "#include \"proto_stomp/stomp_wire.h\"" 0)
  expect(bridge     bridge/a.c      "#include \"proto_mqtt/mqtt_wire.h\"" 0)
  expect(bridge2    bridge/a.c      "#include \"proto_mqtt/mqtt_conn.h\"" 1)
  expect(sideways   proto_mqtt/a.c  "#include \"proto_stomp/stomp_wire.h\"" 1)
  expect(transport  proto_mqtt/a.c  "  #  include \"transport/tcp.h\" // why" 1)
  expect(upwards    core/a.h        "#include \"proto_mqtt/mqtt_wire.h\"" 1)
  expect(upwards2   core/base/a.c   "#include \"core/adapter.h\"" 1)
  expect(into_app   admin/a.c       "#include \"app/config.h\"" 1)
  expect(into_tests core/a.c        "#include \"tests/support/guard.h\"" 1)
  expect(relative   transport/a.c   "#include \"tcp.h\"" 1)
  expect(dots       transport/a.c   "#include \"transport/../persist/wal.h\"" 1)
  expect(missing    transport/a.c   "#include \"core/no_such.h\"" 1)
  expect(angle      transport/a.c   "#include <persist/wal.h>" 1)
  expect(macro      transport/a.c   "#include WHATEVER" 1)
  expect(ev_ok      core/loop_ev.c  "#include <ev.h>" 0)
  expect(ev         core/shard.c    "#include <ev.h>" 1)
  expect(tls_ok     transport/tls.c "#include <mbedtls/ssl.h>" 0)
  expect(tls        transport/tcp.c "#include <mbedtls/ssl.h>" 1)
  expect(crypto_ok  auth/a.c        "#include <mbedtls/md.h>" 0)
  expect(crypto     app/a.c         "#include <mbedtls/md.h>" 1)
  expect(auth_ok    auth/a.c        "#include \"core/adapter.h\"" 0)
  expect(auth       auth/a.c        "#include \"transport/tcp.h\"" 1)
  expect(to_auth    proto_mqtt/a.c  "#include \"auth/scram.h\"" 1)
  expect(llhttp_ok  transport/http_upgrade.c "#include <llhttp.h>" 0)
  expect(llhttp     transport/ws.c  "#include <llhttp.h>" 1)
  expect(pb_ok      persist/a.c     "#include <protobuf-c/protobuf-c.h>" 0)
  expect(pb         core/a.c        "#include <protobuf-c/protobuf-c.h>" 1)
  expect(socket_ok  transport/a.c   "#include <sys/socket.h>" 0)
  expect(socket     proto_mqtt/a.c  "#include <sys/socket.h>" 1)
  expect(socket2    core/a.c        "#include <unistd.h>" 1)
  message(STATUS "layers: the check finds what it should")
else()
  if(NOT DEFINED ROOT)
    message(FATAL_ERROR "say -DROOT=<the repository>")
  endif()
  get_filename_component(ROOT ${ROOT} ABSOLUTE)
  check_tree(${ROOT} found n)
  if(n LESS 10)
    message(FATAL_ERROR "only ${n} source files under ${ROOT}: this check would say nothing")
  endif()
  if(found)
    list(LENGTH found found_n)
    list(JOIN found "\n  " text)
    message(FATAL_ERROR "${found_n} include(s) against the layers (see docs/architecture.md):\n  ${text}")
  endif()
  message(STATUS "layers: ${n} files, every include is allowed")
endif()
