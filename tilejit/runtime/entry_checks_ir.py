"""What a native launch function checks, as LLVM IR: one function for each kind of thing in a call.

``TYPES`` are the tables of ``entry_tables`` and the objects of CPython and numpy as they lie in memory, with
what is called of the process; ``CHECKS`` are the functions over them. A check that fails says so and
changes nothing.
"""

from __future__ import annotations

ENVIRONMENT = "tilejit.environment"

TYPES = """
%param = type { i64, i64, ptr, i64, i64, ptr, i64, i64, i64, i64, ptr, ptr, ptr }
%constant = type { i64, ptr }
%slot = type { i64, i64, i64, i64 }
%launch = type { ptr, ptr, ptr, i64, i64, i64, i64, i64, ptr, ptr }
%call = type { %launch, i64, i64, ptr, i64, ptr, i64, ptr, i64, ptr, i64, ptr, ptr, i64, i64, ptr }
%bound = type { %launch, ptr, i64, ptr }
%place = type { ptr, ptr, i64, i64, i64, i64 }
%watch = type { i64, ptr, ptr, ptr }
%cell = type { i64, ptr, ptr }                    ; then what it holds
%object = type { i64, ptr }                       ; reference count, type
%tuple = type { i64, ptr, i64, [0 x ptr] }        ; then size and items
%float = type { i64, ptr, double }
%array = type { i64, ptr, ptr, i32, ptr, ptr, ptr, ptr, i32 } ; data, rank, shape, strides, base, dtype, flags
; DLPack's DLTensor: data, device, its number, rank, dtype, shape, strides, offset
%dltensor = type { i64, i32, i32, i32, i32, ptr, ptr, i64 }
%layout = type { i64, ptr, ptr }                  ; where element 0 is, sizes, strides

@PyLong_Type = external global i8
@PyFloat_Type = external global i8
@_Py_TrueStruct = external global i8
@_Py_FalseStruct = external global i8
@environ = external global ptr
@prefix = private constant [8 x i8] c"TILEJIT_"

declare ptr @PyCapsule_GetPointer(ptr, ptr)
declare i64 @PyLong_AsLongLongAndOverflow(ptr, ptr)
declare i64 @PyLong_AsUnsignedLongLong(ptr)
declare ptr @PyDict_GetItemWithError(ptr, ptr)
declare void @PyErr_Clear()
declare ptr @PyErr_NoMemory()
declare ptr @PyErr_Occurred()
declare ptr @PyObject_Vectorcall(ptr, ptr, i64, ptr)
declare void @Py_IncRef(ptr)
declare void @Py_DecRef(ptr)
declare ptr @PyEval_SaveThread()
declare void @PyEval_RestoreThread(ptr)
declare i32 @strncmp(ptr, ptr, i64)
declare i64 @llvm.smin.i64(i64, i64)
declare i64 @llvm.smax.i64(i64, i64)
"""

CHECKS = """
; A number that stands for the variables of the environment whose names begin with TILEJIT_: the sum of their
; FNV-1a hashes, whatever their order. The loop over all others, @scan, is one block with one value to carry:
; unoptimised code is as fast then as a call of getenv.
define i64 @tilejit.environment() {
  %sum = alloca i64
  store i64 0, ptr %sum
  %list = load ptr, ptr @environ
  %has_none = icmp eq ptr %list, null
  br i1 %has_none, label %done, label %scan
scan:
  %at = phi ptr [ %list, %0 ], [ %next_at, %scan ], [ %next_at, %compare ], [ %next_at, %add ]
  %text = load ptr, ptr %at
  %next_at = getelementptr ptr, ptr %at, i64 1
  %is_end = icmp eq ptr %text, null
  %initial_at = select i1 %is_end, ptr @prefix, ptr %text
  %initial = load i8, ptr %initial_at
  %stops = icmp eq i8 %initial, 84 ; T
  br i1 %stops, label %stopped, label %scan
stopped:
  br i1 %is_end, label %done, label %compare
compare:
  %order = call i32 @strncmp(ptr %text, ptr @prefix, i64 8)
  %is_ours = icmp eq i32 %order, 0
  br i1 %is_ours, label %byte, label %scan
byte:
  %i = phi i64 [ 8, %compare ], [ %next_i, %mix ]
  %hash = phi i64 [ -3750763034362895579, %compare ], [ %new_hash, %mix ]
  %byte_at = getelementptr i8, ptr %text, i64 %i
  %character = load i8, ptr %byte_at
  %is_last = icmp eq i8 %character, 0
  br i1 %is_last, label %add, label %mix
mix:
  %wide = zext i8 %character to i64
  %mixed = xor i64 %hash, %wide
  %new_hash = mul i64 %mixed, 1099511628211
  %next_i = add i64 %i, 1
  br label %byte
add:
  %before = load i64, ptr %sum
  %after = add i64 %before, %hash
  store i64 %after, ptr %sum
  br label %scan
done:
  %result = load i64, ptr %sum
  ret i64 %result
}

; True where a place outside holds what it held when the code was compiled.
define internal i1 @is_held(ptr %watch) {
  %kind = load i64, ptr %watch
  %place_at = getelementptr %watch, ptr %watch, i32 0, i32 1
  %place = load ptr, ptr %place_at
  %key_at = getelementptr %watch, ptr %watch, i32 0, i32 2
  %key = load ptr, ptr %key_at
  %expected_at = getelementptr %watch, ptr %watch, i32 0, i32 3
  %expected = load ptr, ptr %expected_at
  switch i64 %kind, label %function [ i64 0, label %dict
                                      i64 1, label %cell ]
dict:
  %item = call ptr @PyDict_GetItemWithError(ptr %place, ptr %key)
  %is_missing = icmp eq ptr %item, null
  br i1 %is_missing, label %clear, label %compare
cell:
  %content_at = getelementptr %cell, ptr %place, i32 0, i32 2
  %content = load ptr, ptr %content_at
  br label %compare
function:
  %answer = call ptr @PyObject_Vectorcall(ptr %place, ptr null, i64 0, ptr null)
  %has_failed = icmp eq ptr %answer, null
  br i1 %has_failed, label %fail, label %answered
answered:
  call void @Py_DecRef(ptr %answer)
  %is_true = icmp eq ptr %answer, @_Py_TrueStruct
  ret i1 %is_true
fail:
  call void @PyErr_Clear()
  ret i1 false
clear:
  call void @PyErr_Clear()
  br label %compare
compare:
  %now = phi ptr [ %item, %dict ], [ %content, %cell ], [ null, %clear ]
  %is_same = icmp eq ptr %now, %expected
  ret i1 %is_same
}

; True where the argument is the expected object, or an int or float of the same value.
define internal i1 @is_expected(ptr %given, ptr %expected) {
  %is_same = icmp eq ptr %given, %expected
  br i1 %is_same, label %yes, label %compare
compare:
  %type_at = getelementptr %object, ptr %given, i32 0, i32 1
  %type = load ptr, ptr %type_at
  %expected_type_at = getelementptr %object, ptr %expected, i32 0, i32 1
  %expected_type = load ptr, ptr %expected_type_at
  %is_one_type = icmp eq ptr %type, %expected_type
  br i1 %is_one_type, label %numbers, label %no
numbers:
  %is_int = icmp eq ptr %type, @PyLong_Type
  br i1 %is_int, label %ints, label %maybe_floats
ints:
  %overflow = alloca i32
  store i32 0, ptr %overflow
  %a = call i64 @PyLong_AsLongLongAndOverflow(ptr %given, ptr %overflow)
  %a_over = load i32, ptr %overflow
  %b = call i64 @PyLong_AsLongLongAndOverflow(ptr %expected, ptr %overflow)
  %b_over = load i32, ptr %overflow
  %overs = or i32 %a_over, %b_over
  %fits = icmp eq i32 %overs, 0
  %is_equal = icmp eq i64 %a, %b
  %is_equal_int = and i1 %fits, %is_equal
  ret i1 %is_equal_int
maybe_floats:
  %is_float = icmp eq ptr %type, @PyFloat_Type
  br i1 %is_float, label %floats, label %no
floats:
  %x_at = getelementptr %float, ptr %given, i32 0, i32 2
  %x = load i64, ptr %x_at
  %y_at = getelementptr %float, ptr %expected, i32 0, i32 2
  %y = load i64, ptr %y_at
  %is_equal_float = icmp eq i64 %x, %y
  ret i1 %is_equal_float
yes:
  ret i1 true
no:
  ret i1 false
}

; True where ``divisible`` (0, 1 or 2 for either) is what the value's divisibility by 16 is.
define internal i1 @has_divisibility(i64 %value, i64 %divisible) {
  %rest = and i64 %value, 15
  %is_multiple = icmp eq i64 %rest, 0
  %wide = zext i1 %is_multiple to i64
  %fits = icmp eq i64 %wide, %divisible
  %is_free = icmp eq i64 %divisible, 2
  %result = or i1 %fits, %is_free
  ret i1 %result
}

; Check a numpy array; write where it lies to %layout, its first byte and the one after its last to %extent.
define internal i1 @check_array(ptr %given, ptr %param, ptr %layout, ptr %extent) {
  %data_at = getelementptr %array, ptr %given, i32 0, i32 2
  %data = load i64, ptr %data_at
  %rank_at = getelementptr %array, ptr %given, i32 0, i32 3
  %rank_32 = load i32, ptr %rank_at
  %rank = zext i32 %rank_32 to i64
  %shape_at = getelementptr %array, ptr %given, i32 0, i32 4
  %shape = load ptr, ptr %shape_at
  %strides_at = getelementptr %array, ptr %given, i32 0, i32 5
  %strides = load ptr, ptr %strides_at
  %dtype_at = getelementptr %array, ptr %given, i32 0, i32 7
  %dtype = load ptr, ptr %dtype_at
  %flags_at = getelementptr %array, ptr %given, i32 0, i32 8
  %flags = load i32, ptr %flags_at
  %wanted_dtype_at = getelementptr %param, ptr %param, i32 0, i32 5
  %wanted_dtype = load ptr, ptr %wanted_dtype_at
  %has_dtype = icmp eq ptr %dtype, %wanted_dtype
  %wanted_rank_at = getelementptr %param, ptr %param, i32 0, i32 7
  %wanted_rank = load i64, ptr %wanted_rank_at
  %has_rank = icmp eq i64 %rank, %wanted_rank
  %is_written_at = getelementptr %param, ptr %param, i32 0, i32 6
  %is_written = load i64, ptr %is_written_at
  %writable = and i32 %flags, 1024 ; NPY_ARRAY_WRITEABLE
  %writable_64 = zext i32 %writable to i64
  %write_bit = shl i64 %is_written, 10
  %is_writable = icmp uge i64 %writable_64, %write_bit
  %aligned = and i32 %flags, 256 ; NPY_ARRAY_ALIGNED
  %is_aligned = icmp ne i32 %aligned, 0
  %divisible_at = getelementptr %param, ptr %param, i32 0, i32 3
  %divisible = load i64, ptr %divisible_at
  %has_divisibility = call i1 @has_divisibility(i64 %data, i64 %divisible)
  %ok_1 = and i1 %has_dtype, %has_rank
  %ok_2 = and i1 %is_writable, %is_aligned
  %ok_3 = and i1 %ok_1, %ok_2
  %ok = and i1 %ok_3, %has_divisibility
  br i1 %ok, label %take, label %no
take:
  store i64 %data, ptr %layout
  %shape_to = getelementptr %layout, ptr %layout, i32 0, i32 1
  store ptr %shape, ptr %shape_to
  %strides_to = getelementptr %layout, ptr %layout, i32 0, i32 2
  store ptr %strides, ptr %strides_to
  %itemsize_at = getelementptr %param, ptr %param, i32 0, i32 8
  %itemsize = load i64, ptr %itemsize_at
  %is_measured = call i1 @measure(ptr %layout, i64 %rank, i64 %itemsize, i64 1, ptr %extent)
  ret i1 %is_measured
no:
  ret i1 false
}

; Check a tensor of PyTorch, which describes itself as a DLTensor, and write the same. A lazily negated one
; does not show in its description.
define internal i1 @check_tensor(ptr %given, ptr %param, ptr %layout, ptr %extent) {
  %tensor = alloca %dltensor
  %argument = alloca ptr
  %type_at = getelementptr %object, ptr %given, i32 0, i32 1
  %type = load ptr, ptr %type_at
  %wanted_type_at = getelementptr %param, ptr %param, i32 0, i32 10
  %wanted_type = load ptr, ptr %wanted_type_at
  %has_type = icmp eq ptr %type, %wanted_type
  br i1 %has_type, label %ask, label %no
ask:
  %is_negated_at = getelementptr %param, ptr %param, i32 0, i32 12
  %is_negated = load ptr, ptr %is_negated_at
  store ptr %given, ptr %argument
  %answer = call ptr @PyObject_Vectorcall(ptr %is_negated, ptr %argument, i64 1, ptr null)
  %has_failed = icmp eq ptr %answer, null
  br i1 %has_failed, label %clear, label %answered
answered:
  call void @Py_DecRef(ptr %answer)
  %is_plain = icmp eq ptr %answer, @_Py_FalseStruct
  br i1 %is_plain, label %describe, label %no
describe:
  %describe_at = getelementptr %param, ptr %param, i32 0, i32 11
  %describe_tensor = load ptr, ptr %describe_at
  %code = call i32 %describe_tensor(ptr %given, ptr %tensor)
  %is_described = icmp eq i32 %code, 0
  br i1 %is_described, label %compare, label %clear
clear:
  call void @PyErr_Clear()
  ret i1 false
compare:
  %data_at = getelementptr %dltensor, ptr %tensor, i32 0, i32 0
  %base = load i64, ptr %data_at
  %offset_at = getelementptr %dltensor, ptr %tensor, i32 0, i32 7
  %offset = load i64, ptr %offset_at
  %data = add i64 %base, %offset
  %device_at = getelementptr %dltensor, ptr %tensor, i32 0, i32 1
  %device = load i32, ptr %device_at
  %rank_at = getelementptr %dltensor, ptr %tensor, i32 0, i32 3
  %rank_32 = load i32, ptr %rank_at
  %rank = zext i32 %rank_32 to i64
  %dtype_at = getelementptr %dltensor, ptr %tensor, i32 0, i32 4
  %dtype_32 = load i32, ptr %dtype_at
  %dtype = zext i32 %dtype_32 to i64
  %wanted_dtype_at = getelementptr %param, ptr %param, i32 0, i32 5
  %wanted_dtype = load i64, ptr %wanted_dtype_at
  %wanted_rank_at = getelementptr %param, ptr %param, i32 0, i32 7
  %wanted_rank = load i64, ptr %wanted_rank_at
  %divisible_at = getelementptr %param, ptr %param, i32 0, i32 3
  %divisible = load i64, ptr %divisible_at
  %itemsize_at = getelementptr %param, ptr %param, i32 0, i32 8
  %itemsize = load i64, ptr %itemsize_at
  %item_mask = sub i64 %itemsize, 1
  %misalignment = and i64 %data, %item_mask
  %is_on_cpu = icmp eq i32 %device, 1 ; kDLCPU
  %has_dtype = icmp eq i64 %dtype, %wanted_dtype
  %has_rank = icmp eq i64 %rank, %wanted_rank
  %is_aligned = icmp eq i64 %misalignment, 0
  %has_divisibility = call i1 @has_divisibility(i64 %data, i64 %divisible)
  %ok_1 = and i1 %is_on_cpu, %has_dtype
  %ok_2 = and i1 %has_rank, %is_aligned
  %ok_3 = and i1 %ok_1, %ok_2
  %ok = and i1 %ok_3, %has_divisibility
  br i1 %ok, label %take, label %no
take:
  store i64 %data, ptr %layout
  %shape_at = getelementptr %dltensor, ptr %tensor, i32 0, i32 5
  %shape = load ptr, ptr %shape_at
  %shape_to = getelementptr %layout, ptr %layout, i32 0, i32 1
  store ptr %shape, ptr %shape_to
  %strides_at = getelementptr %dltensor, ptr %tensor, i32 0, i32 6
  %strides = load ptr, ptr %strides_at
  %strides_to = getelementptr %layout, ptr %layout, i32 0, i32 2
  store ptr %strides, ptr %strides_to
  %is_measured = call i1 @measure(ptr %layout, i64 %rank, i64 %itemsize, i64 %itemsize, ptr %extent)
  ret i1 %is_measured
no:
  ret i1 false
}

; True where an array of a bound call still lies where it did: its owner may give it other memory.
define internal i1 @is_in_place(ptr %place) {
  %layout = alloca %layout
  %extent = alloca [2 x i64]
  %tensor = alloca %dltensor
  %given = load ptr, ptr %place
  %describe_at = getelementptr %place, ptr %place, i32 0, i32 1
  %describe = load ptr, ptr %describe_at
  %wanted_rank_at = getelementptr %place, ptr %place, i32 0, i32 2
  %wanted_rank = load i64, ptr %wanted_rank_at
  %itemsize_at = getelementptr %place, ptr %place, i32 0, i32 3
  %itemsize = load i64, ptr %itemsize_at
  %is_array = icmp eq ptr %describe, null
  br i1 %is_array, label %array, label %tensor_ask
array:
  %array_data_at = getelementptr %array, ptr %given, i32 0, i32 2
  %array_data = load i64, ptr %array_data_at
  %array_rank_at = getelementptr %array, ptr %given, i32 0, i32 3
  %array_rank = load i32, ptr %array_rank_at
  %array_shape_at = getelementptr %array, ptr %given, i32 0, i32 4
  %array_shape = load ptr, ptr %array_shape_at
  %array_strides_at = getelementptr %array, ptr %given, i32 0, i32 5
  %array_strides = load ptr, ptr %array_strides_at
  br label %compare
tensor_ask:
  %code = call i32 %describe(ptr %given, ptr %tensor)
  %is_described = icmp eq i32 %code, 0
  br i1 %is_described, label %described, label %clear
clear:
  call void @PyErr_Clear()
  ret i1 false
described:
  %base = load i64, ptr %tensor
  %offset_at = getelementptr %dltensor, ptr %tensor, i32 0, i32 7
  %offset = load i64, ptr %offset_at
  %tensor_data = add i64 %base, %offset
  %tensor_rank_at = getelementptr %dltensor, ptr %tensor, i32 0, i32 3
  %tensor_rank = load i32, ptr %tensor_rank_at
  %tensor_shape_at = getelementptr %dltensor, ptr %tensor, i32 0, i32 5
  %tensor_shape = load ptr, ptr %tensor_shape_at
  %tensor_strides_at = getelementptr %dltensor, ptr %tensor, i32 0, i32 6
  %tensor_strides = load ptr, ptr %tensor_strides_at
  br label %compare
compare:
  %data = phi i64 [ %array_data, %array ], [ %tensor_data, %described ]
  %rank_32 = phi i32 [ %array_rank, %array ], [ %tensor_rank, %described ]
  %shape = phi ptr [ %array_shape, %array ], [ %tensor_shape, %described ]
  %strides = phi ptr [ %array_strides, %array ], [ %tensor_strides, %described ]
  %unit = phi i64 [ 1, %array ], [ %itemsize, %described ]
  %rank = zext i32 %rank_32 to i64
  %has_rank = icmp eq i64 %rank, %wanted_rank
  br i1 %has_rank, label %measure, label %no
measure:
  store i64 %data, ptr %layout
  %shape_to = getelementptr %layout, ptr %layout, i32 0, i32 1
  store ptr %shape, ptr %shape_to
  %strides_to = getelementptr %layout, ptr %layout, i32 0, i32 2
  store ptr %strides, ptr %strides_to
  %is_measured = call i1 @measure(ptr %layout, i64 %rank, i64 %itemsize, i64 %unit, ptr %extent)
  %low = load i64, ptr %extent
  %high_at = getelementptr i64, ptr %extent, i64 1
  %high = load i64, ptr %high_at
  %wanted_low_at = getelementptr %place, ptr %place, i32 0, i32 4
  %wanted_low = load i64, ptr %wanted_low_at
  %wanted_high_at = getelementptr %place, ptr %place, i32 0, i32 5
  %wanted_high = load i64, ptr %wanted_high_at
  %is_low = icmp eq i64 %low, %wanted_low
  %is_high = icmp eq i64 %high, %wanted_high
  %is_here = and i1 %is_low, %is_high
  %is_same = and i1 %is_measured, %is_here
  ret i1 %is_same
no:
  ret i1 false
}

; Write the first byte of an array and the one after its last to %extent; false where its strides, in units
; of %unit bytes, are no whole elements.
define internal i1 @measure(ptr %layout, i64 %rank, i64 %itemsize, i64 %unit, ptr %extent) {
  %data = load i64, ptr %layout
  %shape_at = getelementptr %layout, ptr %layout, i32 0, i32 1
  %shape = load ptr, ptr %shape_at
  %strides_at = getelementptr %layout, ptr %layout, i32 0, i32 2
  %strides = load ptr, ptr %strides_at
  %item_mask = sub i64 %itemsize, 1
  %end = add i64 %data, %itemsize
  br label %loop
loop:
  %d = phi i64 [ 0, %0 ], [ %next_d, %step ]
  %low = phi i64 [ %data, %0 ], [ %new_low, %step ]
  %high = phi i64 [ %end, %0 ], [ %new_high, %step ]
  %is_done = icmp eq i64 %d, %rank
  br i1 %is_done, label %done, label %dimension
dimension:
  %size_at = getelementptr i64, ptr %shape, i64 %d
  %size = load i64, ptr %size_at
  %is_empty = icmp eq i64 %size, 0
  br i1 %is_empty, label %empty, label %step
step:
  %stride_at = getelementptr i64, ptr %strides, i64 %d
  %stride_units = load i64, ptr %stride_at
  %stride = mul i64 %stride_units, %unit
  %span_count = sub i64 %size, 1
  %span = mul i64 %span_count, %stride
  %down = call i64 @llvm.smin.i64(i64 %span, i64 0)
  %up = call i64 @llvm.smax.i64(i64 %span, i64 0)
  %new_low = add i64 %low, %down
  %new_high = add i64 %high, %up
  %next_d = add i64 %d, 1
  %stride_rest = and i64 %stride, %item_mask
  %is_whole = icmp eq i64 %stride_rest, 0
  br i1 %is_whole, label %loop, label %no
done:
  store i64 %low, ptr %extent
  %high_at = getelementptr i64, ptr %extent, i64 1
  store i64 %high, ptr %high_at
  ret i1 true
empty:
  store i64 %data, ptr %extent
  %empty_high_at = getelementptr i64, ptr %extent, i64 1
  store i64 %data, ptr %empty_high_at
  ret i1 true
no:
  ret i1 false
}

; Check an int, which must be of the smallest type that holds it, and write it to %value.
define internal i1 @check_int(ptr %given, ptr %param, i64 %kind, ptr %value) {
  %overflow = alloca i32
  store i32 0, ptr %overflow
  %number = call i64 @PyLong_AsLongLongAndOverflow(ptr %given, ptr %overflow)
  %over = load i32, ptr %overflow
  %is_wide = icmp ne i32 %over, 0
  %is_unsigned_kind = icmp eq i64 %kind, 3
  %is_as_wide = icmp eq i1 %is_wide, %is_unsigned_kind
  br i1 %is_as_wide, label %fits_64, label %no
fits_64:
  br i1 %is_wide, label %unsigned, label %signed
unsigned:
  %wide_number = call i64 @PyLong_AsUnsignedLongLong(ptr %given)
  %error = call ptr @PyErr_Occurred()
  %is_error = icmp ne ptr %error, null
  br i1 %is_error, label %clear, label %divisibility
clear:
  call void @PyErr_Clear()
  ret i1 false
signed:
  %narrow = trunc i64 %number to i32
  %widened = sext i32 %narrow to i64
  %is_int32 = icmp eq i64 %widened, %number
  %is_int32_kind = icmp eq i64 %kind, 1
  %is_as_narrow = icmp eq i1 %is_int32, %is_int32_kind
  br i1 %is_as_narrow, label %one, label %no
one:
  %allows_one_at = getelementptr %param, ptr %param, i32 0, i32 4
  %allows_one = load i64, ptr %allows_one_at
  %may_be_one = icmp ne i64 %allows_one, 0
  %is_not_one = icmp ne i64 %number, 1
  %is_allowed = or i1 %may_be_one, %is_not_one
  br i1 %is_allowed, label %divisibility, label %no
divisibility:
  %result = phi i64 [ %number, %one ], [ %wide_number, %unsigned ]
  store i64 %result, ptr %value
  %divisible_at = getelementptr %param, ptr %param, i32 0, i32 3
  %divisible = load i64, ptr %divisible_at
  %ok = call i1 @has_divisibility(i64 %result, i64 %divisible)
  ret i1 %ok
no:
  ret i1 false
}

; True where no array overlaps one of another class; where arrays share a class, some must overlap.
define internal i1 @check_overlaps(ptr %extents, ptr %classes, i64 %count, i64 %shares_memory) {
  br label %outer
outer:
  %i = phi i64 [ 0, %0 ], [ %next_i, %inner_done ]
  %shared = phi i64 [ 0, %0 ], [ %inner_shared, %inner_done ]
  %is_done = icmp eq i64 %i, %count
  br i1 %is_done, label %done, label %start
start:
  %at = getelementptr [2 x i64], ptr %extents, i64 %i
  %low = load i64, ptr %at
  %high_at = getelementptr i64, ptr %at, i64 1
  %high = load i64, ptr %high_at
  %class_at = getelementptr i64, ptr %classes, i64 %i
  %class = load i64, ptr %class_at
  br label %inner
inner:
  %j = phi i64 [ 0, %start ], [ %next_j, %next ]
  %inner_shared = phi i64 [ %shared, %start ], [ %new_shared, %next ]
  %is_last = icmp eq i64 %j, %i
  br i1 %is_last, label %inner_done, label %pair
pair:
  %other_at = getelementptr [2 x i64], ptr %extents, i64 %j
  %other_low = load i64, ptr %other_at
  %other_high_at = getelementptr i64, ptr %other_at, i64 1
  %other_high = load i64, ptr %other_high_at
  %other_class_at = getelementptr i64, ptr %classes, i64 %j
  %other_class = load i64, ptr %other_class_at
  %is_before = icmp ule i64 %high, %other_low
  %is_after = icmp ule i64 %other_high, %low
  %is_apart = or i1 %is_before, %is_after
  %is_one_class = icmp eq i64 %class, %other_class
  %ok = or i1 %is_apart, %is_one_class
  br i1 %ok, label %next, label %no
next:
  %new_shared = select i1 %is_apart, i64 %inner_shared, i64 1
  %next_j = add i64 %j, 1
  br label %inner
inner_done:
  %next_i = add i64 %i, 1
  br label %outer
done:
  %is_as_shared = icmp eq i64 %shared, %shares_memory
  ret i1 %is_as_shared
no:
  ret i1 false
}
"""
