; A fixed piece of work for LLVM, compiled beside every measured first call: its time tells how fast the machine was.
; Three scalar loop nests that the optimiser vectorises: a sum of vectors, a matrix product, rows of x^2 / sum(x^2)
; through a polynomial.

define void @vector_add(ptr noalias %x, ptr noalias %y, ptr noalias %out, i64 %n) {
entry:
  %some = icmp sgt i64 %n, 0
  br i1 %some, label %loop, label %exit
loop:
  %i = phi i64 [ 0, %entry ], [ %next, %loop ]
  %px = getelementptr float, ptr %x, i64 %i
  %py = getelementptr float, ptr %y, i64 %i
  %po = getelementptr float, ptr %out, i64 %i
  %vx = load float, ptr %px, align 4
  %vy = load float, ptr %py, align 4
  %sum = fadd float %vx, %vy
  store float %sum, ptr %po, align 4
  %next = add nuw nsw i64 %i, 1
  %more = icmp slt i64 %next, %n
  br i1 %more, label %loop, label %exit
exit:
  ret void
}

define void @matmul(ptr noalias %a, ptr noalias %b, ptr noalias %c, i64 %m, i64 %n, i64 %k) {
entry:
  br label %rows
rows:
  %i = phi i64 [ 0, %entry ], [ %i.next, %rows.next ]
  %i.more = icmp slt i64 %i, %m
  br i1 %i.more, label %inner, label %exit
inner:
  %p = phi i64 [ 0, %rows ], [ %p.next, %inner.next ]
  %p.more = icmp slt i64 %p, %k
  br i1 %p.more, label %inner.body, label %rows.next
inner.body:
  %ai = mul nsw i64 %i, %k
  %aip = add nsw i64 %ai, %p
  %pa = getelementptr float, ptr %a, i64 %aip
  %va = load float, ptr %pa, align 4
  %bi = mul nsw i64 %p, %n
  %ci = mul nsw i64 %i, %n
  br label %columns
columns:
  %j = phi i64 [ 0, %inner.body ], [ %j.next, %columns.body ]
  %j.more = icmp slt i64 %j, %n
  br i1 %j.more, label %columns.body, label %inner.next
columns.body:
  %bij = add nsw i64 %bi, %j
  %cij = add nsw i64 %ci, %j
  %pb = getelementptr float, ptr %b, i64 %bij
  %pc = getelementptr float, ptr %c, i64 %cij
  %vb = load float, ptr %pb, align 4
  %vc = load float, ptr %pc, align 4
  %product = fmul contract float %va, %vb
  %total = fadd contract float %vc, %product
  store float %total, ptr %pc, align 4
  %j.next = add nuw nsw i64 %j, 1
  br label %columns
inner.next:
  %p.next = add nuw nsw i64 %p, 1
  br label %inner
rows.next:
  %i.next = add nuw nsw i64 %i, 1
  br label %rows
exit:
  ret void
}

define void @rows(ptr noalias %x, ptr noalias %out, i64 %m, i64 %n) {
entry:
  br label %rows
rows:
  %i = phi i64 [ 0, %entry ], [ %i.next, %rows.next ]
  %i.more = icmp slt i64 %i, %m
  br i1 %i.more, label %row, label %exit
row:
  %start = mul nsw i64 %i, %n
  br label %sum
sum:
  %j = phi i64 [ 0, %row ], [ %j.next, %sum.body ]
  %total = phi float [ 0.0, %row ], [ %total.next, %sum.body ]
  %j.more = icmp slt i64 %j, %n
  br i1 %j.more, label %sum.body, label %scale
sum.body:
  %at = add nsw i64 %start, %j
  %px = getelementptr float, ptr %x, i64 %at
  %v = load float, ptr %px, align 4
  %p1 = call float @llvm.fma.f32(float %v, float 0x3FA5555560000000, float 0x3FC5555560000000)
  %p2 = call float @llvm.fma.f32(float %p1, float %v, float 0.5)
  %p3 = call float @llvm.fma.f32(float %p2, float %v, float 1.0)
  %p4 = call float @llvm.fma.f32(float %p3, float %v, float 1.0)
  %square = fmul float %p4, %p4
  %po = getelementptr float, ptr %out, i64 %at
  store float %square, ptr %po, align 4
  %total.next = fadd reassoc float %total, %square
  %j.next = add nuw nsw i64 %j, 1
  br label %sum
scale:
  %inverse = fdiv float 1.0, %total
  br label %scale.loop
scale.loop:
  %s = phi i64 [ 0, %scale ], [ %s.next, %scale.body ]
  %s.more = icmp slt i64 %s, %n
  br i1 %s.more, label %scale.body, label %rows.next
scale.body:
  %st = add nsw i64 %start, %s
  %ps = getelementptr float, ptr %out, i64 %st
  %w = load float, ptr %ps, align 4
  %scaled = fmul float %w, %inverse
  store float %scaled, ptr %ps, align 4
  %s.next = add nuw nsw i64 %s, 1
  br label %scale.loop
rows.next:
  %i.next = add nuw nsw i64 %i, 1
  br label %rows
exit:
  ret void
}

declare float @llvm.fma.f32(float, float, float)
