"""The way of a warm launch, as LLVM IR: one function for all kernels, called by Python like one written in C.

``tilejit.enter`` is a ``METH_FASTCALL | METH_KEYWORDS`` function. Its ``self`` is a capsule that holds a
``Call`` (``entry_tables``), the description of one kind of call: what each argument must be for the
compiled kernel to be right for it. Arguments are read where CPython and numpy keep them (``fast_entry``
checks these places before it uses them); tensors describe themselves (``tensors``). Anything unexpected -
another type, shape or alignment, a read-only array, new overlaps, other variables of ours in the
environment, another function or constant outside - is handed on, with all arguments, to ``fallback``.

``tilejit.run_bound`` is a ``METH_NOARGS`` function over a ``Bound``: a call whose arguments were checked and
put into slots before. Where an array has been given other memory since, ``fallback`` says so.
"""

from __future__ import annotations

from tilejit.runtime.entry_checks_ir import CHECKS, TYPES

ENTER = "tilejit.enter"
RUN_BOUND = "tilejit.run_bound"

_ENTER = """
define ptr @tilejit.enter(ptr %self, ptr %args, i64 %nargs, ptr %names) {
  %layouts = alloca [64 x %layout]
  %values = alloca [64 x i64]
  %extents = alloca [64 x [2 x i64]]
  %classes = alloca [64 x i64]
  %slots = alloca [64 x i64]
  %call = call ptr @PyCapsule_GetPointer(ptr %self, ptr null)
  %positional_at = getelementptr %call, ptr %call, i32 0, i32 1
  %positional = load i64, ptr %positional_at
  %keywords_at = getelementptr %call, ptr %call, i32 0, i32 2
  %keywords = load i64, ptr %keywords_at
  %has_positional = icmp eq i64 %positional, %nargs
  br i1 %has_positional, label %check_environment, label %miss
check_environment:
  %environment = call i64 @tilejit.environment()
  %wanted_environment_at = getelementptr %call, ptr %call, i32 0, i32 13
  %wanted_environment = load i64, ptr %wanted_environment_at
  %is_as_before = icmp eq i64 %environment, %wanted_environment
  br i1 %is_as_before, label %watch_tables, label %miss
watch_tables:
  %watch_count_at = getelementptr %call, ptr %call, i32 0, i32 14
  %watch_count = load i64, ptr %watch_count_at
  %watches_at = getelementptr %call, ptr %call, i32 0, i32 15
  %watches = load ptr, ptr %watches_at
  br label %watch
watch:
  %w = phi i64 [ 0, %watch_tables ], [ %next_w, %watch_check ]
  %watches_done = icmp eq i64 %w, %watch_count
  br i1 %watches_done, label %count_keywords, label %watch_check
watch_check:
  %watch_at = getelementptr %watch, ptr %watches, i64 %w
  %next_w = add i64 %w, 1
  %is_held = call i1 @is_held(ptr %watch_at)
  br i1 %is_held, label %watch, label %miss
count_keywords:
  %has_no_names = icmp eq ptr %names, null
  br i1 %has_no_names, label %compare_keywords, label %read_names
read_names:
  %size_at = getelementptr %tuple, ptr %names, i32 0, i32 2
  %size = load i64, ptr %size_at
  br label %compare_keywords
compare_keywords:
  %given_keywords = phi i64 [ 0, %count_keywords ], [ %size, %read_names ]
  %has_keywords = icmp eq i64 %given_keywords, %keywords
  br i1 %has_keywords, label %keyword_tables, label %miss
keyword_tables:
  %wanted_names_at = getelementptr %call, ptr %call, i32 0, i32 3
  %wanted_names = load ptr, ptr %wanted_names_at
  br label %keyword
keyword:
  %k = phi i64 [ 0, %keyword_tables ], [ %next_k, %keyword_check ]
  %keywords_done = icmp eq i64 %k, %keywords
  br i1 %keywords_done, label %constant_tables, label %keyword_check
keyword_check:
  %name_at = getelementptr %tuple, ptr %names, i32 0, i32 3, i64 %k
  %name = load ptr, ptr %name_at
  %wanted_name_at = getelementptr ptr, ptr %wanted_names, i64 %k
  %wanted_name = load ptr, ptr %wanted_name_at
  %next_k = add i64 %k, 1
  %is_name = icmp eq ptr %name, %wanted_name
  br i1 %is_name, label %keyword, label %miss

constant_tables:
  %constant_count_at = getelementptr %call, ptr %call, i32 0, i32 6
  %constant_count = load i64, ptr %constant_count_at
  %constants_at = getelementptr %call, ptr %call, i32 0, i32 7
  %constants = load ptr, ptr %constants_at
  br label %constant
constant:
  %c = phi i64 [ 0, %constant_tables ], [ %next_c, %constant_check ]
  %constants_done = icmp eq i64 %c, %constant_count
  br i1 %constants_done, label %param_tables, label %constant_check
constant_check:
  %constant_index_at = getelementptr %constant, ptr %constants, i64 %c, i32 0
  %constant_index = load i64, ptr %constant_index_at
  %expected_at = getelementptr %constant, ptr %constants, i64 %c, i32 1
  %expected = load ptr, ptr %expected_at
  %constant_at = getelementptr ptr, ptr %args, i64 %constant_index
  %constant_given = load ptr, ptr %constant_at
  %next_c = add i64 %c, 1
  %is_expected = call i1 @is_expected(ptr %constant_given, ptr %expected)
  br i1 %is_expected, label %constant, label %miss

param_tables:
  %param_count_at = getelementptr %call, ptr %call, i32 0, i32 4
  %param_count = load i64, ptr %param_count_at
  %params_at = getelementptr %call, ptr %call, i32 0, i32 5
  %params = load ptr, ptr %params_at
  %array_type_at = getelementptr %call, ptr %call, i32 0, i32 11
  %array_type = load ptr, ptr %array_type_at
  %float64_type_at = getelementptr %call, ptr %call, i32 0, i32 12
  %float64_type = load ptr, ptr %float64_type_at
  br label %param
param:
  %p = phi i64 [ 0, %param_tables ], [ %next_p, %param_next ]
  %arrays = phi i64 [ 0, %param_tables ], [ %new_arrays, %param_next ]
  %params_done = icmp eq i64 %p, %param_count
  br i1 %params_done, label %overlaps, label %param_check
param_check:
  %param_at = getelementptr %param, ptr %params, i64 %p
  %kind = load i64, ptr %param_at
  %index_at = getelementptr %param, ptr %param_at, i32 0, i32 1
  %index = load i64, ptr %index_at
  %default_at = getelementptr %param, ptr %param_at, i32 0, i32 2
  %is_default = icmp slt i64 %index, 0
  %argument_at = getelementptr ptr, ptr %args, i64 %index
  %given_at = select i1 %is_default, ptr %default_at, ptr %argument_at
  %given = load ptr, ptr %given_at
  %type_at = getelementptr %object, ptr %given, i32 0, i32 1
  %type = load ptr, ptr %type_at
  %value_at = getelementptr [64 x i64], ptr %values, i64 0, i64 %p
  switch i64 %kind, label %int [ i64 0, label %array
                                 i64 4, label %bool
                                 i64 5, label %float
                                 i64 6, label %tensor ]
tensor:
  %tensor_layout = getelementptr [64 x %layout], ptr %layouts, i64 0, i64 %p
  %tensor_extent = getelementptr [64 x [2 x i64]], ptr %extents, i64 0, i64 %arrays
  %is_good_tensor = call i1 @check_tensor(ptr %given, ptr %param_at, ptr %tensor_layout, ptr %tensor_extent)
  br i1 %is_good_tensor, label %array_take, label %miss
array:
  %is_array = icmp eq ptr %type, %array_type
  br i1 %is_array, label %array_check, label %miss
array_check:
  %extent_at = getelementptr [64 x [2 x i64]], ptr %extents, i64 0, i64 %arrays
  %array_layout = getelementptr [64 x %layout], ptr %layouts, i64 0, i64 %p
  %is_good_array = call i1 @check_array(ptr %given, ptr %param_at, ptr %array_layout, ptr %extent_at)
  br i1 %is_good_array, label %array_take, label %miss
array_take:
  %layout_at = getelementptr [64 x %layout], ptr %layouts, i64 0, i64 %p
  %data = load i64, ptr %layout_at
  store i64 %data, ptr %value_at
  %class_at = getelementptr %param, ptr %param_at, i32 0, i32 9
  %class = load i64, ptr %class_at
  %class_to = getelementptr [64 x i64], ptr %classes, i64 0, i64 %arrays
  store i64 %class, ptr %class_to
  %more_arrays = add i64 %arrays, 1
  br label %param_next
int:
  %is_int = icmp eq ptr %type, @PyLong_Type
  br i1 %is_int, label %int_check, label %miss
int_check:
  %is_good_int = call i1 @check_int(ptr %given, ptr %param_at, i64 %kind, ptr %value_at)
  br i1 %is_good_int, label %param_next, label %miss
bool:
  %is_true = icmp eq ptr %given, @_Py_TrueStruct
  %is_false = icmp eq ptr %given, @_Py_FalseStruct
  %is_bool = or i1 %is_true, %is_false
  br i1 %is_bool, label %bool_take, label %miss
bool_take:
  %truth = zext i1 %is_true to i64
  store i64 %truth, ptr %value_at
  br label %param_next
float:
  %is_python_float = icmp eq ptr %type, @PyFloat_Type
  %is_float64 = icmp eq ptr %type, %float64_type ; a subclass of float, laid out as one
  %is_float = or i1 %is_python_float, %is_float64
  br i1 %is_float, label %float_take, label %miss
float_take:
  %double_at = getelementptr %float, ptr %given, i32 0, i32 2
  %double = load double, ptr %double_at
  %single = fptrunc double %double to float
  %bits = bitcast float %single to i32
  %wide_bits = zext i32 %bits to i64
  store i64 %wide_bits, ptr %value_at
  br label %param_next
param_next:
  %new_arrays = phi i64 [ %more_arrays, %array_take ], [ %arrays, %int_check ],
                        [ %arrays, %bool_take ], [ %arrays, %float_take ]
  %next_p = add i64 %p, 1
  br label %param

overlaps:
  %shares_memory_at = getelementptr %call, ptr %call, i32 0, i32 10
  %shares_memory = load i64, ptr %shares_memory_at
  %is_as_shared = call i1 @check_overlaps(ptr %extents, ptr %classes, i64 %arrays, i64 %shares_memory)
  br i1 %is_as_shared, label %slot_tables, label %miss
slot_tables:
  %slot_count_at = getelementptr %call, ptr %call, i32 0, i32 8
  %slot_count = load i64, ptr %slot_count_at
  %slot_list_at = getelementptr %call, ptr %call, i32 0, i32 9
  %slot_list = load ptr, ptr %slot_list_at
  br label %slot
slot:
  %s = phi i64 [ 0, %slot_tables ], [ %next_s, %slot_fill ]
  %slots_done = icmp eq i64 %s, %slot_count
  br i1 %slots_done, label %ready, label %slot_check
slot_check:
  %slot_at = getelementptr %slot, ptr %slot_list, i64 %s
  %slot_kind = load i64, ptr %slot_at
  %slot_param_at = getelementptr %slot, ptr %slot_at, i32 0, i32 1
  %slot_param = load i64, ptr %slot_param_at
  %is_value = icmp eq i64 %slot_kind, 0
  br i1 %is_value, label %slot_value, label %slot_array
slot_value:
  %slot_value_at = getelementptr [64 x i64], ptr %values, i64 0, i64 %slot_param
  %slot_value_read = load i64, ptr %slot_value_at
  br label %slot_fill
slot_array:
  %slot_layout = getelementptr [64 x %layout], ptr %layouts, i64 0, i64 %slot_param
  %is_shape = icmp eq i64 %slot_kind, 1
  %shape_at = getelementptr %layout, ptr %slot_layout, i32 0, i32 1
  %strides_at = getelementptr %layout, ptr %slot_layout, i32 0, i32 2
  %list_at = select i1 %is_shape, ptr %shape_at, ptr %strides_at
  %list = load ptr, ptr %list_at
  %dimension_at = getelementptr %slot, ptr %slot_at, i32 0, i32 2
  %dimension = load i64, ptr %dimension_at
  %entry_at = getelementptr i64, ptr %list, i64 %dimension
  %entry = load i64, ptr %entry_at
  %shift_at = getelementptr %slot, ptr %slot_at, i32 0, i32 3
  %shift = load i64, ptr %shift_at
  %elements = ashr i64 %entry, %shift
  br label %slot_fill
slot_fill:
  %filling = phi i64 [ %slot_value_read, %slot_value ], [ %elements, %slot_array ]
  %slot_to = getelementptr [64 x i64], ptr %slots, i64 0, i64 %s
  store i64 %filling, ptr %slot_to
  %next_s = add i64 %s, 1
  br label %slot

ready:
  %cell = load ptr, ptr %call
  %pool = load ptr, ptr %cell
  %is_off = icmp eq ptr %pool, null
  br i1 %is_off, label %miss, label %run
run:
  %done = call ptr @run(ptr %pool, ptr %call, ptr %slots)
  ret ptr %done
miss:
  %fallback_at = getelementptr %launch, ptr %call, i32 0, i32 9
  %fallback = load ptr, ptr %fallback_at
  %slow = call ptr @PyObject_Vectorcall(ptr %fallback, ptr %args, i64 %nargs, ptr %names)
  ret ptr %slow
}
"""

# Both ways end here.
_RUN = """
define internal ptr @run(ptr %pool, ptr %launch, ptr %slots) {
  %code_at = getelementptr %launch, ptr %launch, i32 0, i32 1
  %code = load ptr, ptr %code_at
  %cost_at = getelementptr %launch, ptr %launch, i32 0, i32 2
  %cost = load ptr, ptr %cost_at
  %bytes_at = getelementptr %launch, ptr %launch, i32 0, i32 3
  %bytes = load i64, ptr %bytes_at
  %total_at = getelementptr %launch, ptr %launch, i32 0, i32 4
  %total = load i64, ptr %total_at
  %gx_at = getelementptr %launch, ptr %launch, i32 0, i32 5
  %gx_64 = load i64, ptr %gx_at
  %gx = trunc i64 %gx_64 to i32
  %gy_at = getelementptr %launch, ptr %launch, i32 0, i32 6
  %gy_64 = load i64, ptr %gy_at
  %gy = trunc i64 %gy_64 to i32
  %gz_at = getelementptr %launch, ptr %launch, i32 0, i32 7
  %gz_64 = load i64, ptr %gz_at
  %gz = trunc i64 %gz_64 to i32
  %result_at = getelementptr %launch, ptr %launch, i32 0, i32 8
  %result = load ptr, ptr %result_at
  %known = load double, ptr %cost
  %programs = sitofp i64 %total to double
  %time = fmul double %known, %programs
  %is_known = fcmp ogt double %time, 0.0
  %is_short = fcmp olt double %time, 50000.0 ; nanoseconds: releasing the GIL would gain others little
  %keeps_gil = and i1 %is_known, %is_short
  br i1 %keeps_gil, label %run_here, label %run_free
run_here:
  %failed_here = call i32 %pool(ptr %code, ptr %slots, i64 0, i64 %total, i32 %gx, i32 %gy, i32 %gz,
                                  i64 %bytes, ptr %cost)
  br label %finish
run_free:
  %thread = call ptr @PyEval_SaveThread()
  %failed_free = call i32 %pool(ptr %code, ptr %slots, i64 0, i64 %total, i32 %gx, i32 %gy, i32 %gz,
                                  i64 %bytes, ptr %cost)
  call void @PyEval_RestoreThread(ptr %thread)
  br label %finish
finish:
  %failed = phi i32 [ %failed_here, %run_here ], [ %failed_free, %run_free ]
  %is_failed = icmp ne i32 %failed, 0
  br i1 %is_failed, label %out_of_memory, label %return
return:
  call void @Py_IncRef(ptr %result)
  ret ptr %result
out_of_memory:
  %nothing = call ptr @PyErr_NoMemory()
  ret ptr null
}
"""

_RUN_BOUND = """
define ptr @tilejit.run_bound(ptr %self, ptr %unused) {
  %bound = call ptr @PyCapsule_GetPointer(ptr %self, ptr null)
  %cell = load ptr, ptr %bound
  %pool = load ptr, ptr %cell
  %is_off = icmp eq ptr %pool, null
  br i1 %is_off, label %slow, label %tables
tables:
  %count_at = getelementptr %bound, ptr %bound, i32 0, i32 2
  %count = load i64, ptr %count_at
  %places_at = getelementptr %bound, ptr %bound, i32 0, i32 3
  %places = load ptr, ptr %places_at
  br label %place
place:
  %p = phi i64 [ 0, %tables ], [ %next_p, %place_check ]
  %is_done = icmp eq i64 %p, %count
  br i1 %is_done, label %run, label %place_check
place_check:
  %place_at = getelementptr %place, ptr %places, i64 %p
  %next_p = add i64 %p, 1
  %is_in_place = call i1 @is_in_place(ptr %place_at)
  br i1 %is_in_place, label %place, label %slow
run:
  %slots_at = getelementptr %bound, ptr %bound, i32 0, i32 1
  %slots = load ptr, ptr %slots_at
  %done = call ptr @run(ptr %pool, ptr %bound, ptr %slots)
  ret ptr %done
slow:
  %fallback_at = getelementptr %launch, ptr %bound, i32 0, i32 9
  %fallback = load ptr, ptr %fallback_at
  %slow_result = call ptr @PyObject_Vectorcall(ptr %fallback, ptr null, i64 0, ptr null)
  ret ptr %slow_result
}
"""


def entry_module() -> str:
    """The IR of ``ENTER``, ``RUN_BOUND`` and ``ENVIRONMENT``."""
    return TYPES + CHECKS + _RUN + _ENTER + _RUN_BOUND
